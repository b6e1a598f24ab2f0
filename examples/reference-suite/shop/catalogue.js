// The goods and the arithmetic of the shop; the pages and the tests both import it.
export const goods = [
  { id: 'tea', name: 'Green tea', kind: 'drinks', cents: 499, stock: 12 },
  { id: 'coffee', name: 'Coffee beans', kind: 'drinks', cents: 1250, stock: 5 },
  { id: 'cocoa', name: 'Cocoa', kind: 'drinks', cents: 675, stock: 0 },
  { id: 'bread', name: 'Rye bread', kind: 'food', cents: 349, stock: 8 },
  { id: 'cheese', name: 'Mountain cheese', kind: 'food', cents: 899, stock: 3 },
  { id: 'honey', name: 'Forest honey', kind: 'food', cents: 780, stock: 6 },
  { id: 'mug', name: 'Blue mug', kind: 'household', cents: 1190, stock: 20 },
  { id: 'candle', name: 'Beeswax candle', kind: 'household', cents: 560, stock: 14 },
];

export const vouchers = { TEN: 10, HALF: 50, NOTHING: 0 };

export const money = (cents) => `${(cents / 100).toFixed(2)} €`;

export const discounted = (cents, code) => {
  const percent = vouchers[code.trim().toUpperCase()];
  if (percent === undefined) throw new RangeError(`no such voucher: ${code}`);
  return cents - Math.round((cents * percent) / 100);
};

export const postage = (cents) => (cents === 0 || cents >= 3000 ? 0 : 490);

export const matching = (text) => {
  const wanted = text.trim().toLowerCase();
  return goods.filter((item) => item.name.toLowerCase().includes(wanted));
};

export const escapeHtml = (text) =>
  text.replace(/[&<>"']/g, (mark) => `&#${mark.codePointAt(0)};`);
