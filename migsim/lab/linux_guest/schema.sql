-- An order-entry branch: one database of about 100 MB. The guest copies it until its buffers are as full as wanted.
-- Texts are pieces of a corpus of English words, so that pages hold what pages of such a database hold.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SET maintenance_work_mem = '128MB';
DO $$ BEGIN PERFORM setseed(0.25); END $$;

CREATE TABLE corpus (piece int PRIMARY KEY, words text NOT NULL);
INSERT INTO corpus SELECT piece, string_agg(
  (ARRAY['the','of','order','steel','a','garden','with','and','for','light','table','blue','water','is','small',
         'set','cotton','made','hand','oak','paper','new','box','our','large','kitchen','lamp','from','in','soft',
         'classic','black','glass','to','travel','coffee','by','lasting','white','guarantee','bicycle','chair'])
  [1 + floor(42 * random() ^ 1.5)::int], ' ')
  FROM generate_series(0, 63) piece, generate_series(1, 300) GROUP BY piece;

CREATE TABLE customers (
  customer_id bigserial, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL,
  language char(2) NOT NULL, credit_limit numeric(10,2) NOT NULL, since timestamptz NOT NULL,
  last_order timestamptz, preferences text NOT NULL) WITH (fillfactor = 90);
CREATE TABLE addresses (
  address_id bigserial, customer_id bigint NOT NULL, house int NOT NULL, street text NOT NULL, town text NOT NULL,
  county text NOT NULL, post_code text NOT NULL, country char(2) NOT NULL);
CREATE TABLE cards (
  card_id bigserial, customer_id bigint NOT NULL, kind text NOT NULL, number text NOT NULL, expires date NOT NULL,
  verified boolean NOT NULL);
CREATE TABLE warehouses (warehouse_id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (
  product_id int, name text NOT NULL, category int NOT NULL, price numeric(8,2) NOT NULL, weight_g int NOT NULL,
  supplier int NOT NULL, description text NOT NULL);
CREATE TABLE inventory (
  product_id int, warehouse_id int, quantity int NOT NULL, changed timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE TABLE orders (
  order_id bigserial, customer_id bigint NOT NULL, ordered_at timestamptz NOT NULL, mode text NOT NULL,
  status smallint NOT NULL, total numeric(10,2) NOT NULL, warehouse_id int NOT NULL, changed timestamptz NOT NULL,
  note text NOT NULL) WITH (fillfactor = 80);
CREATE TABLE order_items (
  order_id bigint, line int, product_id int NOT NULL, price numeric(8,2) NOT NULL, quantity int NOT NULL,
  dispatched timestamptz, gift_note text NOT NULL) WITH (fillfactor = 90);
CREATE TABLE logons (logon_id bigserial, customer_id bigint NOT NULL, at timestamptz NOT NULL, client text NOT NULL);

INSERT INTO warehouses SELECT w, 'Warehouse ' || w FROM generate_series(1, 20) w;
INSERT INTO products
  SELECT p, substr(words, p % 400, 10 + p % 31), 1 + p % 40, round((5 + random() * 500)::numeric, 2),
    50 + p * 7 % 9000, p * 11 % 200, substr(words, 1 + p * 3 % 400, 200 + p * 17 % 700)
  FROM generate_series(1, 2000) p JOIN corpus ON piece = p % 64;
INSERT INTO inventory SELECT p, w, 500 + p * 7 % 500, now()
  FROM generate_series(1, 2000) p, generate_series(1, 20) w;
INSERT INTO customers (first_name, last_name, email, language, credit_limit, since, last_order, preferences)
  SELECT initcap(substr(md5(c::text), 1, 6)), initcap(substr(md5((c % 9973)::text), 1, 9)),
    md5(c::text) || '@example.org', 'en', 100 + c % 4900, now() - c * interval '1 min', NULL,
    substr(words, 1 + c * 7 % 400, 80 + c * 17 % 171)
  FROM generate_series(1, 60000) c JOIN corpus ON piece = c % 64;
INSERT INTO addresses (customer_id, house, street, town, county, post_code, country)
  SELECT c, c % 300, substr(words, 1 + c % 400, 10 + c % 21), substr(words, 1 + c % 200, 6 + c % 11),
    substr(words, 1 + c % 100, 6 + c % 11), 'P' || c % 90000, 'GB'
  FROM generate_series(1, 60000) c JOIN corpus ON piece = c % 64;
INSERT INTO cards (customer_id, kind, number, expires, verified)
  SELECT c, 'card', md5(c::text), '2030-01-01', true FROM generate_series(1, 60000) c;
INSERT INTO orders (customer_id, ordered_at, mode, status, total, warehouse_id, changed, note)
  SELECT 1 + (random() * 59999)::int, now() - (80000 - o) * interval '1 min', 'online',
    CASE WHEN o > 72000 THEN 1 ELSE 5 END, round((20 + random() * 900)::numeric, 2), 1 + o % 20, now(),
    substr(words, 1 + o * 7 % 400, 20 + o * 17 % 71)
  FROM generate_series(1, 80000) o JOIN corpus ON piece = o % 64;
INSERT INTO order_items
  SELECT o, l, 1 + (random() * 1999)::int, round((5 + random() * 500)::numeric, 2), 1 + (o + l) % 5,
    CASE WHEN o > 72000 THEN NULL ELSE now() END, substr(words, 1 + o * 7 % 400, 10 + (o + l) * 17 % 51)
  FROM generate_series(1, 80000) o JOIN corpus ON piece = o % 64, generate_series(1, 3) l;
INSERT INTO logons (customer_id, at, client)
  SELECT 1 + (random() * 59999)::int, now() - l * interval '1 s', 'web' FROM generate_series(1, 80000) l;

ALTER TABLE customers ADD PRIMARY KEY (customer_id);
CREATE INDEX ON customers (last_name, first_name);
CREATE UNIQUE INDEX ON customers (email);
ALTER TABLE addresses ADD PRIMARY KEY (address_id);
CREATE INDEX ON addresses (customer_id);
ALTER TABLE cards ADD PRIMARY KEY (card_id);
CREATE INDEX ON cards (customer_id);
ALTER TABLE products ADD PRIMARY KEY (product_id);
CREATE INDEX ON products (category);
ALTER TABLE inventory ADD PRIMARY KEY (product_id, warehouse_id);
ALTER TABLE orders ADD PRIMARY KEY (order_id);
CREATE INDEX ON orders (customer_id);
ALTER TABLE order_items ADD PRIMARY KEY (order_id, line);
CREATE INDEX ON order_items (product_id);
ALTER TABLE logons ADD PRIMARY KEY (logon_id);
CREATE INDEX ON logons (customer_id);
