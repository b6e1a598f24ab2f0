// The whole shop: a router on the address's fragment, a cart in localStorage, five pages.
import { discounted, escapeHtml, goods, matching, money, postage } from './catalogue.js';

const main = document.querySelector('main');
const nav = document.querySelector('nav');
const menu = document.querySelector('#menu');

const store = {
  read: (key, otherwise) => JSON.parse(localStorage.getItem(key) ?? 'null') ?? otherwise,
  write: (key, value) => localStorage.setItem(key, JSON.stringify(value)),
};
const cart = () => store.read('cart', {});
const find = (id) => goods.find((item) => item.id === id);
const sum = () => Object.entries(cart()).reduce((total, [id, count]) => total + find(id).cents * count, 0);

function put(id, count) {
  const { [id]: _old, ...others } = cart();
  store.write('cart', count > 0 ? { ...others, [id]: Math.min(count, find(id).stock) } : others);
  show();
}

const listing = (items) =>
  items.map((item) => `<li><a href="#/goods/${item.id}">${item.name}</a> <b>${money(item.cents)}</b></li>`).join('');

const pages = {
  '': () => {
    const orders = {
      name: (a, b) => a.name.localeCompare(b.name),
      price: (a, b) => a.cents - b.cents,
    };
    main.innerHTML = `
      <label>Search <input type="search"></label>
      <label>Kind <select id="kind"><option value="">all</option><option>drinks</option><option>food</option><option>household</option></select></label>
      <label>Order <select id="order"><option>name</option><option>price</option></select></label>
      <p role="status"></p><ul id="goods"></ul>`;
    const [search, kind, order] = ['input', '#kind', '#order'].map((selector) => main.querySelector(selector));
    const fill = () => {
      const found = matching(search.value).filter((item) => !kind.value || item.kind === kind.value);
      main.querySelector('#goods').innerHTML = listing(found.sort(orders[order.value]));
      main.querySelector('[role=status]').textContent = found.length ? `${found.length} found` : 'Nothing found';
    };
    main.oninput = fill;
    fill();
  },
  goods: (id) => {
    const item = find(id);
    if (!item) return pages.missing();
    main.innerHTML = `<h2>${item.name}</h2><p data-testid="price">${money(item.cents)}</p>
      <p data-testid="stock">${item.stock ? `${item.stock} in stock` : 'Sold out'}</p>
      <button id="add" ${item.stock ? '' : 'disabled'}>Add to cart</button>`;
    main.querySelector('#add').onclick = () => put(id, (cart()[id] ?? 0) + 1);
  },
  cart: () => {
    const rows = Object.entries(cart()).map(([id, count]) => `
      <tr data-id="${id}"><th>${find(id).name}</th><td><input type="number" aria-label="${find(id).name}" min="0" value="${count}"></td>
      <td>${money(find(id).cents * count)}</td><td><button>Remove</button></td></tr>`);
    main.innerHTML = rows.length
      ? `<h2>Cart</h2><table>${rows.join('')}</table><form><label>Voucher <input name="voucher"></label><button>Apply</button></form>
         <p role="alert"></p><p>Total <b data-testid="total">${money(sum())}</b></p><a href="#/checkout">Check out</a>`
      : '<h2>Cart</h2><p>Your cart is empty.</p>';
    for (const row of main.querySelectorAll('tr')) {
      row.querySelector('input').onchange = (event) => put(row.dataset.id, Number(event.target.value));
      row.querySelector('button').onclick = () => put(row.dataset.id, 0);
    }
    main.querySelector('form')?.addEventListener('submit', (event) => {
      event.preventDefault();
      const code = event.target.voucher.value;
      try {
        main.querySelector('[data-testid=total]').textContent = money(discounted(sum(), code));
        main.querySelector('[role=alert]').textContent = '';
      } catch {
        main.querySelector('[role=alert]').innerHTML = `No voucher ${escapeHtml(code)}`;
      }
    });
  },
  checkout: () => {
    main.innerHTML = `<h2>Checkout</h2><form><label>Name <input name="name" required></label>
      <label>Town <input name="town" required></label><p>Postage <b data-testid="postage">${money(postage(sum()))}</b></p>
      <button>Order</button></form>`;
    main.querySelector('form').onsubmit = (event) => {
      event.preventDefault();
      const form = new FormData(event.target);
      store.write('cart', {});
      show();
      main.innerHTML = `<h2>Thank you, ${escapeHtml(form.get('name'))}</h2><p>On its way to ${escapeHtml(form.get('town'))}.</p>`;
    };
  },
  account: () => {
    const user = store.read('user', '');
    main.innerHTML = user
      ? `<h2>Hello, ${escapeHtml(user)}</h2><button>Log out</button>`
      : '<h2>Log in</h2><form><label>Name <input name="user"></label><label>Password <input type="password" name="word"></label><button>Log in</button><p role="alert"></p></form>';
    const leave = main.querySelector('h2 + button');
    if (leave) leave.onclick = () => (store.write('user', ''), show());
    main.querySelector('form')?.addEventListener('submit', (event) => {
      event.preventDefault();
      const { user, word } = event.target;
      if (word.value !== 'sesame') main.querySelector('[role=alert]').textContent = 'Wrong name or password';
      else (store.write('user', user.value), show());
    });
  },
  help: () => {
    main.innerHTML = `<h2>Help</h2>
      <details><summary>How long does delivery take?</summary><p>Two days.</p></details>
      <details><summary>Can I return goods?</summary><p>Within 30 days.</p></details>`;
  },
  missing: () => {
    main.innerHTML = '<h2>Not found</h2><a href="#/">Back to the goods</a>';
  },
};

function show() {
  main.oninput = null;
  const [page, ...rest] = location.hash.replace(/^#\/?/, '').split('/');
  (Object.hasOwn(pages, page) ? pages[page] : pages.missing)(...rest);
  document.querySelector('[data-testid=count]').textContent = Object.values(cart()).reduce((a, b) => a + b, 0);
  nav.classList.remove('open');
  menu.setAttribute('aria-expanded', 'false');
}

menu.onclick = () => menu.setAttribute('aria-expanded', String(nav.classList.toggle('open')));
addEventListener('hashchange', show);
show();
