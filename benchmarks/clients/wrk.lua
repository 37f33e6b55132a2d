-- The benchmarks' events for wrk (https://github.com/wg/wrk, Debian: apt-get install wrk):
--   HEADRACE_KEY=hrk_… wrk -t 2 -c 64 -d 10s -s wrk.lua http://HOST:PORT/v1/batch/events -- body.json …
-- Every file after `--` is a request's body; they are sent in turn. Prints one line of JSON at the end.
-- Events stay where they are sent: use a workspace made for it, with a limit above the rate.

local bodies = {}
local turn = 0

function init(args)
  local key = os.getenv("HEADRACE_KEY") or error("set HEADRACE_KEY to a key with the scope ingest")
  wrk.method = "POST"
  wrk.headers["Authorization"] = "Bearer " .. key
  wrk.headers["Content-Type"] = "application/json"
  for _, name in ipairs(args) do
    local file = assert(io.open(name, "rb"))
    bodies[#bodies + 1] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
  assert(#bodies > 0, "name a file with a body after --")
end

function request()
  turn = turn % #bodies + 1
  return bodies[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50":%.6f,"p99":%.6f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
