"""What runs inside Redis: scripts, each one round trip.

Owns the keys' layout and every decision that must be atomic among collectors. Time is Redis' own
(`TIME`), so that a collector whose clock jumps does no harm. What a collector sends carries the
moment it was sent, in Redis' time as far as the collector knows it: a server that was frozen runs,
when it wakes, what was sent to it hours ago by those who have long gone on without it; and a
server whose clock jumped agrees with nobody. Both are answered `LATE`, and nothing is done.

Keys, all under one prefix:

`window:<workspace>` list: requests let through, oldest first. An entry is two doubles: a moment
(microseconds) and how many had been let through by then, so that what lies between two entries is
a subtraction. The first entry is the last one that has left the window.

`key:<hash>` string, by its first letter: `C` claimed, `c` claimed and uncertain (if the claim is
given back, what came before it may still have been stored), then 12 bytes owner and the end of the
lease; `D` done, then the answer; `U` uncertain: free, but the next is marked.

`epoch` string without expiry: since when keys have been kept without a gap (milliseconds), a
blank, and in which run of which server.

`collectors` sorted set: who writes keys here, by when they last said that they lack none.
"""

from __future__ import annotations

import hashlib
from typing import Final

from headrace.collector.idempotency import KEPT_FOR
from headrace.collector.limiting import EXACT_UP_TO, WINDOW_SECONDS

LATE: Final = -1
LATE_SECONDS: Final = 2
SILENT_SECONDS: Final = 60
OWNER_BYTES: Final = 12

CLAIMED: Final = b"F"
CLAIMED_UNPROVED: Final = b"M"
RUNNING: Final = b"R"
DONE: Final = b"D"
UNCERTAIN: Final = b"U"
FREE: Final = b"F"

_CONSTANTS: Final = f"""
local LATE = {LATE}
local LATE_MS = {LATE_SECONDS * 1000}
local SILENT_MS = {SILENT_SECONDS * 1000}
local KEPT_MS = {int(KEPT_FOR.total_seconds()) * 1000}
local WINDOW = {WINDOW_SECONDS * 1_000_000}
local WINDOW_KEPT_MS = {WINDOW_SECONDS * 1000 + 5_000}
local EXACT_UP_TO = {EXACT_UP_TO}
local BUCKET = 100000
local STEP = 1000000
local OWNER = {OWNER_BYTES}
"""

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
if math.abs(now_ms - ARGV[1]) > LATE_MS then return LATE end
"""

_RENEW: Final = """
local function renew(epoch, run)
  redis.call('SET', epoch, string.format('%.0f %s', now_ms, run))
end
"""

_ENTER: Final = """
-- KEYS: window, epoch and, if it has one, key.
-- ARGV: sent (ms), limit, take (1, or 0 to look), dry run (1 or 0); owner, lease (ms), run.
-- Returns (remaining * 64 + seconds) * 2 + allowed; if a key was asked for, and the request
-- goes on, that as text, a colon, and what the key says.
local window, limit, take = KEYS[1], tonumber(ARGV[2]), ARGV[3] == '1'

local function entry(index)
  local packed = redis.call('LINDEX', window, index)
  if packed then return struct.unpack('>dd', packed) end
end

local function first_after(test)  -- entries are in order: of moments, and of numbers
  local low, high = 1, redis.call('LLEN', window) - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if test(entry(middle)) then high = middle else low = middle + 1 end
  end
  return low
end

local function is_within(moment) return moment + WINDOW > now + 1 end

local last, passed = entry(-1)
if last and last > now + STEP then  -- The clock was put back: nobody waits for it to catch up.
  redis.call('DEL', window)
  last = nil
end
local left, oldest = 0, nil
if last then
  oldest = entry(1)
  if oldest and not is_within(oldest) then
    redis.call('LTRIM', window, is_within(last) and first_after(is_within) - 1 or -1, -1)
    oldest = entry(1)
  end
  local _
  _, left = entry(0)
else
  last, passed = 0, 0
end

local total = passed - left
local allowed = total < limit
if allowed and take then
  total, passed = total + 1, passed + 1
  if redis.call('EXISTS', window) == 0 then
    redis.call('RPUSH', window, struct.pack('>dd', 0, 0))
  end
  local moment = now
  if limit > EXACT_UP_TO then moment = math.floor(now / BUCKET) * BUCKET + BUCKET end
  if limit > EXACT_UP_TO and last >= moment and oldest then
    redis.call('LSET', window, -1, struct.pack('>dd', last, passed))
  else
    moment = math.max(moment, last)
    redis.call('RPUSH', window, struct.pack('>dd', moment, passed))
    oldest = oldest or moment
  end
  redis.call('PEXPIRE', window, WINDOW_KEPT_MS)
end

local excess, free_at = total - limit, (oldest or now) + WINDOW
if excess > 0 and oldest then  -- The limit was lowered: more than the oldest must leave.
  local index = first_after(function(_, number) return number - left > excess end)
  local moment, number = entry(index)
  free_at = (number - left > excess and moment or now) + WINDOW
end
local seconds = math.ceil((free_at - now) / 1000000)
local decision = (math.max(0, -excess) * 64 + seconds) * 2 + (allowed and 1 or 0)
local key, owner, run = KEYS[3], ARGV[5], ARGV[7]
if not key or not (allowed or ARGV[4] == '1') then return decision end

local function say(state) return string.format('%.0f:', decision) .. state end
local function claim(letter)
  local lease_ends = string.format('%.0f', now_ms + ARGV[6])
  redis.call('SET', key, letter .. owner .. lease_ends, 'PX', KEPT_MS)
end

local epoch = redis.call('GET', KEYS[2])
local since, of_run = string.match(epoch or '', '^(%d+) (.*)$')
if of_run ~= run then
  renew(KEYS[2], run)
  since = now_ms
end
local known = redis.call('GET', key)
if not known then
  claim('C')
  return say(now_ms - since >= KEPT_MS and 'F' or 'M')
end
local letter = string.sub(known, 1, 1)
if letter == 'D' then return say(known) end
if letter ~= 'U' and now_ms < tonumber(string.sub(known, OWNER + 2)) then return say('R') end
claim('c')
return say('M')
"""

_SETTLE: Final = """
-- KEYS: key. ARGV: what became of it (D done, U uncertain, F free), owner, the answer if done.
local key, outcome, owner = KEYS[1], ARGV[1], ARGV[2]
local known = redis.call('GET', key)
local letter = known and string.sub(known, 1, 1)
local is_ours = (letter == 'C' or letter == 'c') and string.sub(known, 2, OWNER + 1) == owner
if outcome == 'D' then
  if is_ours then
    redis.call('SET', key, 'D' .. ARGV[3], 'KEEPTTL')
  elseif letter ~= 'D' then
    redis.call('SET', key, 'D' .. ARGV[3], 'PX', KEPT_MS)
  end
elseif outcome == 'U' then
  if is_ours or not known then redis.call('SET', key, 'U', 'PX', KEPT_MS) end
elseif is_ours then
  if letter == 'c' then redis.call('SET', key, 'U', 'KEEPTTL') else redis.call('DEL', key) end
end
return 1
"""

_CONFIRM: Final = """
-- KEYS: epoch, collectors. ARGV: sent (ms), run, who, went on without us (1 or 0), leaves (1 or 0).
-- Returns now (ms), and 1 if the epoch was renewed.
local epoch, run, who = redis.call('GET', KEYS[1]), ARGV[2], ARGV[3]
local renewed = ARGV[4] == '1' or string.match(epoch or '', ' (.*)$') ~= run
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms - SILENT_MS)) do
  if silent ~= who then  -- It may go on without us, and whatever it takes we do not know.
    redis.call('ZREM', KEYS[2], silent)
    renewed = true
  end
end
if renewed then renew(KEYS[1], run) end
if ARGV[5] == '1' then
  redis.call('ZREM', KEYS[2], who)
else
  redis.call('ZADD', KEYS[2], now_ms, who)
end
return {now_ms, renewed and 1 or 0}
"""

_FORGET: Final = """
-- KEYS: keys. ARGV: what an answer must hold to be forgotten.
-- Returns how many were: the next request with such a key goes on, marked.
local forgotten = 0
for _, key in ipairs(KEYS) do
  local known = redis.call('GET', key)
  if known and string.sub(known, 1, 1) == 'D' and string.find(known, ARGV[1], 1, true) then
    redis.call('SET', key, 'U', 'KEEPTTL')
    forgotten = forgotten + 1
  end
end
return forgotten
"""


class Script:
    """A script and the name it is called by once the server knows it."""

    __slots__ = ("sha", "source")

    def __init__(self, *parts: str) -> None:
        self.source = "".join(parts).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


ENTER: Final = Script(_CONSTANTS, _NOW, _RENEW, _ENTER)
SETTLE: Final = Script(_CONSTANTS, _SETTLE)
CONFIRM: Final = Script(_CONSTANTS, _NOW, _RENEW, _CONFIRM)
FORGET: Final = Script(_FORGET)
SCRIPTS: Final = (ENTER, SETTLE, CONFIRM)
