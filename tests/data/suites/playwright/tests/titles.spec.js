const { test } = require('@playwright/test');

test.describe.configure({ mode: 'parallel' });

const titles = ['a › b', ' blanks ', 'tag @smoke', '"quotes" \'and\' `ticks`', '$(touch owned)', 'größe 価格', '[one] › x', '# no', 'a.*b', 'two\nlines'];
for (const title of titles) test(title, () => {});
