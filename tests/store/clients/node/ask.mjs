// What a program on Node asks the store, by the official client: `node ask.mjs URL USER PASSWORD
// DATABASE none|gzip`. Prints one JSON object; whoever calls judges it.
import { createClient } from "@clickhouse/client";

const [url, username, password, database, compression] = process.argv.slice(2);
const client = createClient({
  url,
  username,
  password,
  database,
  compression: { response: compression === "gzip" },
});

async function rows(query, query_params, settings = {}) {
  const result = await client.query({
    query,
    query_params,
    format: "JSONEachRow",
    clickhouse_settings: settings,
  });
  return result.json();
}

async function codeOf(promise) {
  try {
    await promise;
    return "none";
  } catch (error) {
    return error.code ?? String(error);
  }
}

async function large() {
  const result = await client.query({
    query: "SELECT number, toString(number) AS text FROM numbers(300000)",
    format: "JSONEachRow",
  });
  let count = 0;
  let sum = 0;
  for await (const some of result.stream()) {
    for (const row of some) {
      const { number, text } = row.json();
      if (String(number) !== text) throw new Error(`${number} is not ${text}`);
      count += 1;
      sum += Number(number);
    }
  }
  return { count, sum };
}

async function brokenStream() {
  const result = await client.query({
    query: "SELECT number, repeat('x', 1000), throwIf(number = 90000) FROM numbers(100000)",
    format: "JSONEachRow",
  });
  let count = 0;
  for await (const some of result.stream()) count += some.length;
  return count;
}

async function cancelled() {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const began = Date.now();
  try {
    await client.query({
      query: "SELECT count() FROM numbers(400000000) WHERE NOT ignore(sipHash64(repeat(toString(number), 50)))",
      format: "JSONEachRow",
      abort_signal: controller.signal,
    });
    return "answered";
  } catch {
    return Date.now() - began < 5000 ? "cancelled" : "late";
  }
}

const answers = {
  ping: (await client.ping()).success,
  pingSelect: (await client.ping({ select: true })).success,
  tables: (await rows("SHOW TABLES")).map((row) => row.name),
  columns: Object.fromEntries(
    (await rows("DESCRIBE TABLE events")).map((row) => [row.name, row.type]),
  ),
  parameter: await rows(
    "SELECT count() AS n FROM events WHERE event = {event: String} AND timestamp >= {from: DateTime64(6)}",
    { event: "a", from: "2026-01-01 00:00:00.000000" },
  ),
  row: (await rows("SELECT * FROM events ORDER BY timestamp LIMIT 1"))[0],
  large: await large(),
  code: await codeOf(rows("SELECT nothing_of_this_name")),
  denied: await codeOf(rows("SELECT * FROM file('/etc/hostname', 'LineAsString')")),
  brokenStream: await codeOf(brokenStream()),
  cancelled: await cancelled(),
};
await client.close();
console.log(JSON.stringify(answers));
