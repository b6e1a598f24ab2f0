// Titles that selection by pattern gets wrong, and that must do no harm wherever they are shown.
import { expect, test } from '@playwright/test';
import { escapeHtml } from '../shop/catalogue.js';

const titles = [
  'adds 1 › 2 › 3 in order',
  '[desktop] › catalogue.spec.ts › shows every item',
  '  keeps the blanks around it  ',
  'says "yes" and \'no\'',
  'ends with a tag @smoke',
  'Größe, 価格 and 🛒',
  '<b>bold</b> & ]]> done',
  '$(touch owned) `id` ; echo %PATH%',
  '::error title=owned::not a workflow command',
  '# not a comment',
];

for (const title of titles) {
  test(title, () => {
    expect(escapeHtml(title)).not.toMatch(/[<>"']/);
  });
}
