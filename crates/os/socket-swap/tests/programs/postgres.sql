\set ON_ERROR_STOP 0
\pset pager off
CREATE TABLE words (id int PRIMARY KEY, word text, said timestamp DEFAULT '2000-01-01');
INSERT INTO words SELECT n, repeat(chr(97 + n % 26), n % 700) FROM generate_series(1, 3000) n;
SELECT count(*), sum(length(word)), md5(string_agg(word, ',' ORDER BY id)) FROM words;
SELECT id, word FROM words ORDER BY id;
COPY words (id, word) TO STDOUT;
CREATE TABLE loaded (n int, rest text);
COPY loaded FROM PROGRAM 'seq 1 5000 | sed "s/$/\t&&&&&&&&&&/"';
SELECT count(*), sum(n), md5(string_agg(rest, '' ORDER BY n)) FROM loaded;
COPY loaded FROM STDIN;
1	from the client
2	\N
\.
SELECT n, rest FROM loaded WHERE rest IS NULL OR rest LIKE 'from%' ORDER BY n;
SELECT 1 / 0;
SELECT nothing FROM nowhere;
LISTEN news;
NOTIFY news;
BEGIN;
DECLARE walk CURSOR FOR SELECT id, length(word) FROM words ORDER BY id DESC;
FETCH 40 FROM walk;
FETCH 1000 FROM walk;
ROLLBACK;
SELECT 'SELECT ' || n || ' AS n, ''' || repeat('x', n) || ''' AS x' FROM generate_series(1, 120) n
\gexec
PREPARE look(int) AS SELECT word FROM words WHERE id = $1;
SELECT 'EXECUTE look(' || n || ')' FROM generate_series(1, 120) n
\gexec
SELECT repeat('0123456789', 300000) AS large;
SET statement_timeout = 100;
SELECT pg_sleep(5);
RESET statement_timeout;
DROP TABLE words, loaded;
