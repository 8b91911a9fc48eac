-- The five transactions. Each is one call of one function, so that a user's request is one round trip.
-- What is newest is used most: half of the choices fall on the newest quarter (rank = n * random()^2).
\set ON_ERROR_STOP on

CREATE FUNCTION some_customer() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE newest bigint;
BEGIN
  SELECT last_value INTO newest FROM customers_customer_id_seq;
  RETURN newest - floor((newest - 1) * random() ^ 2)::bigint;
END $$;

CREATE FUNCTION log_on(who bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE found_customer customers%ROWTYPE;
BEGIN
  SELECT * INTO found_customer FROM customers WHERE customer_id = who;
  INSERT INTO logons (customer_id, at, client) VALUES (who, clock_timestamp(), 'web');
END $$;

CREATE FUNCTION customer_registration() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE who bigint; name text := md5(random()::text); page int := floor(random() * 64); text_of text;
BEGIN
  SELECT words INTO text_of FROM corpus WHERE piece = page;
  PERFORM customer_id FROM customers WHERE last_name = initcap(substr(name, 1, 9)) LIMIT 10;
  INSERT INTO customers (first_name, last_name, email, language, credit_limit, since, preferences)
    VALUES (initcap(substr(name, 10, 6)), initcap(substr(name, 1, 9)), name || '@example.org', 'en',
      100 + floor(random() * 4900), clock_timestamp(), substr(text_of, 1 + floor(random() * 400)::int, 80 + floor(random() * 170)::int))
    RETURNING customer_id INTO who;
  INSERT INTO addresses (customer_id, house, street, town, county, post_code, country)
    VALUES (who, floor(random() * 300), substr(text_of, 7, 20), substr(text_of, 50, 11), substr(text_of, 90, 11), 'P' || who % 90000, 'GB');
  INSERT INTO cards (customer_id, kind, number, expires, verified)
    VALUES (who, 'card', md5(name), '2030-01-01', false);
  PERFORM log_on(who);
  RETURN who;
END $$;

CREATE FUNCTION browse_products() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE seen bigint; stock bigint; shelf_of int := 1 + floor(random() * 40);
BEGIN
  PERFORM log_on(some_customer());
  SELECT count(*), sum(stocked) INTO seen, stock FROM (
    SELECT p.product_id, length(p.description),
      (SELECT sum(quantity) FROM inventory i WHERE i.product_id = p.product_id AND i.warehouse_id < 6) AS stocked
    FROM products p WHERE p.category = shelf_of ORDER BY p.price LIMIT 8) AS shelf;
  RETURN stock;
END $$;

CREATE FUNCTION order_products() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  who bigint := some_customer(); number bigint; lines int := 1 + floor(random() * 5);
  place int := 1 + floor(random() * 20); page int := floor(random() * 64); text_of text; item int; cost numeric; sum_of numeric := 0;
BEGIN
  PERFORM log_on(who);
  SELECT words INTO text_of FROM corpus WHERE piece = page;
  INSERT INTO orders (customer_id, ordered_at, mode, status, total, warehouse_id, changed, note)
    VALUES (who, clock_timestamp(), 'online', 0, 0, place, clock_timestamp(), substr(text_of, 1 + floor(random() * 400)::int, 20 + floor(random() * 70)::int))
    RETURNING order_id INTO number;
  FOR l IN 1..lines LOOP
    -- ascending, so that no two orders wait for each other
    item := 1 + floor((l - 1 + random()) * 2000 / lines);
    SELECT price INTO cost FROM products WHERE product_id = item;
    INSERT INTO order_items (order_id, line, product_id, price, quantity, gift_note)
      VALUES (number, l, item, cost, 1, substr(text_of, 50 * l, 10 + floor(random() * 50)::int));
    UPDATE inventory SET quantity = CASE WHEN quantity > 1 THEN quantity - 1 ELSE 900 END, changed = clock_timestamp()
      WHERE product_id = item AND warehouse_id = place;
    sum_of := sum_of + cost;
  END LOOP;
  UPDATE orders SET total = sum_of, status = 1 WHERE order_id = number;
  UPDATE customers SET last_order = clock_timestamp() WHERE customer_id = who;
  RETURN number;
END $$;

CREATE FUNCTION process_orders() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE oldest bigint; number bigint;
BEGIN
  SELECT last_value - floor(8000 * random())::bigint INTO oldest FROM orders_order_id_seq;
  SELECT order_id INTO number FROM orders
    WHERE order_id >= oldest AND status < 5
    ORDER BY order_id LIMIT 1 FOR UPDATE SKIP LOCKED;
  UPDATE orders SET status = status + 2, changed = clock_timestamp() WHERE order_id = number;
  UPDATE order_items SET dispatched = clock_timestamp() WHERE order_id = number;
  RETURN number;
END $$;

CREATE FUNCTION browse_orders() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE who bigint := some_customer(); seen bigint;
BEGIN
  PERFORM log_on(who);
  SELECT count(*) INTO seen FROM (SELECT order_id, ordered_at, total FROM orders
    WHERE customer_id = who ORDER BY order_id DESC LIMIT 5) o
    JOIN order_items i USING (order_id) JOIN products p USING (product_id);
  RETURN seen;
END $$;

ANALYZE;
