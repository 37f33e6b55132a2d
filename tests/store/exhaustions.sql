# What could wear a server out: each ends by itself or by a limit, and the next query is answered.
# One per line; \n is a line break. Add yours: `test_server_limits.py` runs each as an analyst.
SELECT match(repeat('a', 100000), '^(a+)+b$')
SELECT match(repeat('a', 1000), '(a?){500}a{500}')
SELECT replaceRegexpAll(repeat('a', 100000), '(a*)*', 'aa')
SELECT extractAll(repeat('a', 1000000), '(a|aa|aaa)+')
SELECT count() FROM numbers(1000) WHERE multiMatchAny(toString(number), arrayMap(x -> repeat('a.*', x), range(200)))
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count() FROM t
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT t.n FROM t, numbers(2) AS m) SELECT count() FROM t
SELECT range(1000000000)
SELECT length(range(100000000))
SELECT arrayJoin(range(100000000)) LIMIT 1e9
SELECT repeat('x', 10000000000)
SELECT length(repeat(repeat('x', 1000000), 1000000))
SELECT arrayMap(x -> range(100000), range(100000))
SELECT arrayFold((acc, x) -> arrayConcat(acc, acc), range(40), [1])
SELECT groupArray(number) FROM numbers(1000000000)
SELECT groupArray(repeat('x', 1000)) FROM numbers(100000000)
SELECT uniqExact(number) FROM numbers(1000000000)
SELECT number, count() FROM numbers(1000000000) GROUP BY number FORMAT Null
SELECT quantileExact(number) FROM numbers(1000000000)
SELECT count() FROM numbers(100000) AS a CROSS JOIN numbers(100000) AS b CROSS JOIN numbers(100000) AS c
SELECT count() FROM numbers(100000000) AS a INNER JOIN numbers(100000000) AS b ON a.number = b.number
SELECT sum(number) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM numbers(100000000)
SELECT toDecimal256(1, 70) * toDecimal256(1e70, 5)
SELECT throwIf(1, repeat('\n', 1000000))
SELECT toFloat64(1) AS x ORDER BY x WITH FILL FROM 0 TO 1e12
SELECT toFloat64(number) AS x FROM numbers(10) ORDER BY x WITH FILL STEP 1e-9
SELECT JSONExtractRaw(repeat('[', 1000000))
SELECT JSONLength(concat(repeat('{"a":', 100000), '1', repeat('}', 100000)))
SELECT bitShiftLeft(toUInt256(1), 1000000000000)
SELECT factorial(1000000)
SELECT lower(repeat('É', 100000000))
SELECT arraySort(x -> rand(x), range(50000000))[1]
SELECT substring(repeat('x', 1000000), number, 1000000) FROM numbers(1000000) FORMAT Null
SELECT * FROM numbers(1000000000000) LIMIT 1000000000000 FORMAT JSON
SELECT arrayStringConcat(arrayMap(x -> repeat('x', 1000000), range(1000000)))
SELECT splitByString('', repeat('x', 100000000))
SELECT ngramDistance(repeat('ab', 16000), repeat('ba', 16000)) FROM numbers(1000000)
SELECT damerauLevenshteinDistance(repeat('ab', 5000), repeat('ba', 5000))
