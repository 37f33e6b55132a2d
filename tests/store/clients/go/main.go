// What a program in Go asks the store, by the official client over HTTP: `ask ADDRESS USER PASSWORD
// DATABASE none|gzip|lz4`. Prints one JSON object; whoever calls judges it. Grafana's plugin is this
// client with gzip.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const endless = "SELECT count() FROM numbers(400000000) WHERE NOT ignore(sipHash64(repeat(toString(number), 50)))"

func main() {
	methods := map[string]*clickhouse.Compression{
		"none": nil,
		"gzip": {Method: clickhouse.CompressionGZIP},
		"lz4":  {Method: clickhouse.CompressionLZ4},
		"zstd": {Method: clickhouse.CompressionZSTD},
	}
	connection, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Username: os.Args[2], Password: os.Args[3], Database: os.Args[4]},
		Compression: methods[os.Args[5]],
	})
	demand(err)
	defer connection.Close()
	background := context.Background()
	demand(connection.Ping(background))
	answers := map[string]any{
		"ping":         true,
		"tables":       texts(connection, "SELECT name FROM system.tables WHERE database = currentDatabase()"),
		"columns":      columns(connection),
		"parameter":    parameter(connection),
		"row":          row(connection),
		"kinds":        kinds(connection),
		"large":        large(connection),
		"empty":        texts(connection, "SELECT event FROM events WHERE event = 'never'"),
		"code":         code(connection, "SELECT nothing_of_this_name"),
		"denied":       code(connection, "SELECT * FROM file('/etc/hostname', 'LineAsString')"),
		"brokenStream": code(connection, "SELECT number, repeat('x', 1000), throwIf(number = 90000) FROM numbers(100000)"),
		"cancelled":    cancelled(connection),
	}
	demand(json.NewEncoder(os.Stdout).Encode(answers))
}

func demand(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func texts(connection driver.Conn, sql string) []string {
	rows, err := connection.Query(context.Background(), sql)
	demand(err)
	defer rows.Close()
	found := []string{}
	for rows.Next() {
		var text string
		demand(rows.Scan(&text))
		found = append(found, text)
	}
	demand(rows.Err())
	return found
}

func columns(connection driver.Conn) map[string]string {
	rows, err := connection.Query(context.Background(), "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'events'")
	demand(err)
	defer rows.Close()
	found := map[string]string{}
	for rows.Next() {
		var name, kind string
		demand(rows.Scan(&name, &kind))
		found[name] = kind
	}
	demand(rows.Err())
	return found
}

func parameter(connection driver.Conn) uint64 {
	var count uint64
	given := clickhouse.Context(context.Background(), clickhouse.WithParameters(clickhouse.Parameters{"event": "a"}))
	demand(connection.QueryRow(given, "SELECT count() FROM events WHERE event = {event:String}").Scan(&count))
	return count
}

func row(connection driver.Conn) map[string]any {
	var event, user string
	var at time.Time
	var properties clickhouse.JSON
	sql := "SELECT event, user_id, timestamp, properties FROM events ORDER BY timestamp LIMIT 1"
	demand(connection.QueryRow(context.Background(), sql).Scan(&event, &user, &at, &properties))
	return map[string]any{"event": event, "user": user, "timestamp": at.UTC().Format(time.RFC3339), "properties": properties.NestedMap()}
}

func kinds(connection driver.Conn) map[string]any {
	var nothing, something *string
	var names []string
	var numbers map[string]uint64
	var low string
	var lows []string
	var at time.Time
	sql := `SELECT CAST(NULL AS Nullable(String)), toNullable('some'), ['a', 'b'], map('k', toUInt64(7)),
		toLowCardinality('low'), [toLowCardinality('x'), toLowCardinality('y')],
		toDateTime64('2026-01-02 03:04:05.123456', 6, 'UTC') FROM numbers(3) LIMIT 1`
	demand(connection.QueryRow(context.Background(), sql).Scan(&nothing, &something, &names, &numbers, &low, &lows, &at))
	return map[string]any{"nothing": nothing, "something": *something, "names": names, "numbers": numbers, "low": low, "lows": lows, "at": at.UTC().Format(time.RFC3339Nano)}
}

func large(connection driver.Conn) map[string]uint64 {
	rows, err := connection.Query(context.Background(), "SELECT number, toString(number) FROM numbers(300000)")
	demand(err)
	defer rows.Close()
	var count, sum uint64
	for rows.Next() {
		var number uint64
		var text string
		demand(rows.Scan(&number, &text))
		if fmt.Sprint(number) != text {
			log.Fatalf("%d is not %s", number, text)
		}
		count++
		sum += number
	}
	demand(rows.Err())
	return map[string]uint64{"count": count, "sum": sum}
}

func code(connection driver.Conn, sql string) string {
	rows, err := connection.Query(context.Background(), sql)
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
		rows.Close()
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return fmt.Sprint(exception.Code)
	}
	return fmt.Sprint(err)
}

func cancelled(connection driver.Conn) string {
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	var count uint64
	err := connection.QueryRow(soon, endless).Scan(&count)
	if err == nil {
		return "answered"
	}
	if time.Since(began) > 5*time.Second {
		return "late"
	}
	return "cancelled"
}
