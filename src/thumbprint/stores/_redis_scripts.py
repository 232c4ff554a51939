"""What the Redis store does, as scripts that the server runs, each of them as one change that nobody sees half of.

Every key begins with the prefix in braces, a hash tag: in a cluster all of them are in one slot, so that one script can
touch several. BACKEND and ENTRY tell a log entry, ID an item, a dead letter or what a reference is kept under.

    {thumbprint}:layout                 string   the number of this layout
    {thumbprint}:generation             string   a random name, made by the first put: it is lost with the data
    {thumbprint}:calls:KIND:ID          list     the calls of a reference, as JSON; expires

    {thumbprint}:items                  hash     ID → turn and JSON of an item that waits or is leased
    {thumbprint}:queue:BACKEND:ENTRY    list     the IDs that one entry has waiting, in order; there while there are any
    {thumbprint}:waiting:BACKEND        zset     turn and ID of the same items by the time they were made
    {thumbprint}:letters                hash     ID → turn and JSON of a dead letter
    {thumbprint}:dead:BACKEND           zset     turn and ID of the dead letters by the time they were made
    {thumbprint}:backends               set      the backends that have or had any of these
    {thumbprint}:turn                   string   counts the items: what was made at the same time keeps its order

    {thumbprint}:due:BACKEND            stream   the entries that are due, and those that are leased
    {thumbprint}:later:BACKEND          zset     the entries that are due later, by when
    {thumbprint}:leases:BACKEND         zset     the entries that are leased, by when the lease ends
    {thumbprint}:places:BACKEND         hash     ENTRY → id of its message; while leased the token: id, # and a nonce

    {thumbprint}:bucket:NAME            hash     tokens, at: when they were counted, until: no taking before; expires
    {thumbprint}:note:NAME              string   what is noted there for a moment; expires

An entry that has a queue is in one of three states: due (a message of the stream that the group `workers` has not been
given), leased (a message that is pending for one of the group's consumers) or later. Only a leased one can be without a
queue, where somebody who came too late settled its items; it stays so until the lease ends. A consumer is one process's
connection; what one that crashed had pending goes to another by XAUTOCLAIM when the lease, which is kept by the
callers' clocks, has ended. All that one method changes is changed by one script, and so at once.
"""

from __future__ import annotations

import hashlib
from typing import Final

TURN: Final = 16  # characters before the JSON of an item: its turn, a hexadecimal number

_LAYOUT: Final = "1"

# What all scripts begin with. It refuses to touch what a newer version has written, and defines:
#   exact     writes a number with all its digits: Redis would cut the fraction off
#   next_turn counts the items
#   enter     makes an entry due: the last message of the stream
#   leave     takes an entry out of whichever state it is in
#   append    adds an item to the end of its entry's queue, or before another; an entry that is in no state becomes due
#   unlist    takes an item out of those that wait, or of the dead ones; where its turn is not told by its value, which
#             somebody else has written, or its backend not known, by looking through all
#   settle    takes an item out of the outbox and returns its turn, or false where it is not there; an entry that has no
#             other leaves, unless it is leased: what is put now must not overtake what is on its way
#   exhume    takes an item out of the dead letters and returns its value, or false
_PRELUDE: Final = """
local base = string.sub(KEYS[1], 1, -#'layout' - 1)
local layout = redis.call('GET', KEYS[1])
if not layout then
  redis.call('SET', KEYS[1], 'LAYOUT')
elseif layout ~= 'LAYOUT' then
  return redis.error_reply('written by another version of thumbprint (layout ' .. layout
    .. ', this version knows LAYOUT)')
end

local items, letters = base .. 'items', base .. 'letters'
local function key(kind, backend) return base .. kind .. ':' .. backend end
local function queue(backend, entry) return key('queue', backend) .. ':' .. entry end
local function turn_of(value) return string.sub(value, 1, TURN) end
local function next_turn() return string.format('%0TURNx', redis.call('INCR', base .. 'turn')) end
local function exact(number) return string.format('%.17g', number) end

local function enter(backend, entry)
  local stream = key('due', backend)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
  end
  redis.call('HSET', key('places', backend), entry, redis.call('XADD', stream, '*', 'entry', entry))
end

local function message(place) return string.match(place, '^[^#]+') end
local function is_leased(place) return place and string.find(place, '#', 1, true) end
local function place_of(backend, entry) return redis.call('HGET', key('places', backend), entry) end

local function leave(backend, entry)
  local place = place_of(backend, entry)
  if place then
    redis.call('XACK', key('due', backend), 'workers', message(place))
    redis.call('XDEL', key('due', backend), message(place))
    redis.call('HDEL', key('places', backend), entry)
  end
  redis.call('ZREM', key('leases', backend), entry)
  redis.call('ZREM', key('later', backend), entry)
end

local function append(backend, entry, id, created_at, value, before)
  redis.call('HSET', items, id, value)
  redis.call('ZADD', key('waiting', backend), created_at, turn_of(value) .. id)
  redis.call('SADD', base .. 'backends', backend)
  if before then
    redis.call('LINSERT', queue(backend, entry), 'BEFORE', before, id)
  elseif redis.call('RPUSH', queue(backend, entry), id) == 1 and not place_of(backend, entry) then
    enter(backend, entry)
  end
end

local function unlist(kind, backend, id, value)
  if redis.call('ZREM', key(kind, backend), turn_of(value) .. id) == 1 then return end
  local pattern = '*' .. string.gsub(id, '[%*%?%[%]\\]', '\\%0')
  for _, other in ipairs(redis.call('SMEMBERS', base .. 'backends')) do
    local cursor, found = '0'
    repeat
      cursor, found = unpack(redis.call('ZSCAN', key(kind, other), cursor, 'MATCH', pattern, 'COUNT', 1000))
      for i = 1, #found, 2 do
        if string.sub(found[i], TURN + 1) == id then redis.call('ZREM', key(kind, other), found[i]) end
      end
    until cursor == '0'
  end
end

local function settle(backend, entry, id)
  local value = redis.call('HGET', items, id)
  if not value then return false end
  redis.call('HDEL', items, id)
  unlist('waiting', backend, id, value)
  redis.call('LREM', queue(backend, entry), 1, id)
  if redis.call('EXISTS', queue(backend, entry)) == 0 and not is_leased(place_of(backend, entry)) then
    leave(backend, entry)
  end
  return turn_of(value)
end

local function exhume(backend, id)
  local value = redis.call('HGET', letters, id)
  if value then
    redis.call('HDEL', letters, id)
    unlist('dead', backend, id, value)
  end
  return value
end
""".replace("LAYOUT", _LAYOUT)


class Script:
    """A script: its text, and the digest that a server which has run it knows it by."""

    def __init__(self, body: str) -> None:
        self.text = (_PRELUDE + body).replace("TURN", str(TURN))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


# Appends the call to each of the lists, cuts the oldest off and lets all expire anew.
REMEMBER: Final = Script("""
for i = 4, #ARGV do
  local calls = base .. 'calls:' .. ARGV[i]
  redis.call('RPUSH', calls, ARGV[1])
  redis.call('LTRIM', calls, -ARGV[2], -1)
  redis.call('PEXPIRE', calls, ARGV[3])
end
""")

RECALL: Final = Script("return redis.call('LRANGE', base .. 'calls:' .. ARGV[1], 0, -1)")

# Takes all the items that are not there yet and returns the generation, which is made where it is missing. Where that
# would be too many, takes none and returns false.
PUT: Final = Script("""
local fresh, seen = {}, {}
for i = 3, #ARGV, 5 do
  local id = ARGV[i + 2]
  if not seen[id] and redis.call('HEXISTS', items, id) + redis.call('HEXISTS', letters, id) == 0 then
    table.insert(fresh, i)
    seen[id] = true
  end
end
if #fresh > 0 and redis.call('HLEN', items) + #fresh > tonumber(ARGV[1]) then return false end
for _, i in ipairs(fresh) do
  append(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], next_turn() .. ARGV[i + 4])
end
redis.call('SETNX', base .. 'generation', ARGV[2])
return redis.call('GET', base .. 'generation')
""")

# Lets what is due by now join the end of the stream; takes over what consumers hold whose lease has ended; reads the
# rest from the stream; and notes for each entry until when it is leased, and by which token. What is taken over begins
# with just that message: it is the lease that counts, and somebody may have deleted the consumer with what it held.
# A consumer's first claim clears away those that are gone. Returns of each entry its name, its token, and in turn the
# ids and the values of its items.
CLAIM: Final = Script("""
local backend, consumer, nonce, now, ends_at, most, idle = unpack(ARGV, 1, 7)
local stream, places, leases = key('due', backend), key('places', backend), key('leases', backend)
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', key('later', backend), '-inf', now, 'LIMIT', 0, most)) do
  leave(backend, entry)
  enter(backend, entry)
end
if redis.call('EXISTS', stream) == 0 then return {} end
if redis.call('XGROUP', 'CREATECONSUMER', stream, 'workers', consumer) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, 'workers')) do
    local other = {}
    for i = 1, #flat, 2 do other[flat[i]] = flat[i + 1] end
    if other.pending == 0 and other.idle > tonumber(idle) then
      redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', other.name)
    end
  end
end

local found = {}
repeat
  local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', #found, most - #found)
  for _, entry in ipairs(ended) do
    if redis.call('EXISTS', queue(backend, entry)) == 0 then
      leave(backend, entry)
    else
      local id = message(place_of(backend, entry))
      redis.call('XAUTOCLAIM', stream, 'workers', consumer, 0, id, 'COUNT', 1)
      table.insert(found, {id, entry})
    end
  end
until #ended == 0
if #found < tonumber(most) then
  local count = most - #found
  local read = redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', count, 'STREAMS', stream, '>')
  for _, taken in ipairs(read and read[1][2] or {}) do table.insert(found, {taken[1], taken[2][2]}) end
end

local claims = {}
for _, place in ipairs(found) do
  local id, entry = unpack(place)
  local claim = {entry, id .. '#' .. nonce}
  redis.call('HSET', places, entry, claim[2])
  redis.call('ZADD', leases, ends_at, entry)
  for _, item in ipairs(redis.call('LRANGE', queue(backend, entry), 0, -1)) do
    table.insert(claim, item)
    table.insert(claim, redis.call('HGET', items, item) or '')
  end
  table.insert(claims, claim)
end
return claims
""")

# Forgets what is settled, also where somebody else has buried it meanwhile; moves what is buried to the dead letters
# (the oldest go where these are too many); and where the lease is still that of the claim: ends it, writes what waits,
# and lets the entry be due.
CONCLUDE: Final = Script("""
local backend, most, at = ARGV[1], tonumber(ARGV[2]), 2  -- not all: there may be thousands
local function next_arg()
  at = at + 1
  return ARGV[at]
end

local function bury(entry, id, created_at, json)
  local turn = settle(backend, entry, id)
  if not turn then return end
  redis.call('HSET', letters, id, turn .. json)
  redis.call('ZADD', key('dead', backend), created_at, turn .. id)
  if redis.call('HLEN', letters) > most then
    local oldest = redis.call('ZPOPMIN', key('dead', backend))[1]
    redis.call('HDEL', letters, string.sub(oldest, #turn + 1))
  end
end

while at < #ARGV do
  local entry, token, due_at = next_arg(), next_arg(), next_arg()
  local mine, waits = place_of(backend, entry) == token, false
  for _ = 1, next_arg() do
    local id = next_arg()
    if not settle(backend, entry, id) then exhume(backend, id) end
  end
  for _ = 1, next_arg() do
    local id, created_at, json = next_arg(), next_arg(), next_arg()
    bury(entry, id, created_at, json)
  end
  for _ = 1, next_arg() do
    local id, json = next_arg(), next_arg()
    local value = mine and redis.call('HGET', items, id)
    if value then redis.call('HSET', items, id, turn_of(value) .. json) end
    waits = true
  end
  if mine then
    leave(backend, entry)
    if redis.call('EXISTS', queue(backend, entry)) == 1 then
      if waits then
        redis.call('ZADD', key('later', backend), due_at, entry)
      else
        enter(backend, entry)
      end
    end
  end
end
""")

# Moves items that cannot be read, of entries that are leased, to the dead letters, as they are. Where a value does not
# tell its turn, it gets a new one in front of what is there.
BURY_AS_IT_IS: Final = Script("""
local backend, now = ARGV[1], ARGV[2]
for i = 3, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local value = redis.call('HGET', items, id) or ''
  local created_at = redis.call('ZSCORE', key('waiting', backend), turn_of(value) .. id)
  unlist('waiting', backend, id, value)
  redis.call('HDEL', items, id)
  redis.call('LREM', queue(backend, entry), 1, id)
  if not created_at then value, created_at = next_turn() .. value, now end
  redis.call('HSET', letters, id, value)
  redis.call('ZADD', key('dead', backend), created_at, turn_of(value) .. id)
end
""")

HOLDS: Final = Script("return redis.call('EXISTS', queue(ARGV[1], ARGV[2]))")

# A message of the stream that is not leased is due, and has been for long.
NEXT_DUE: Final = Script("""
local backend = ARGV[1]
if redis.call('XLEN', key('due', backend)) > redis.call('ZCARD', key('leases', backend)) then return '0' end
local later = redis.call('ZRANGE', key('later', backend), 0, 0, 'WITHSCORES')[2]
local lease = redis.call('ZRANGE', key('leases', backend), 0, 0, 'WITHSCORES')[2]
if later and lease and tonumber(lease) < tonumber(later) then return lease end
return later or lease
""")

# Fills the bucket for the time that has passed, and takes one token where there is one. Callers' clocks differ: a time
# before the last is as if none had passed. The tolerance is for times since 1970, which floats hold to a quarter of
# a microsecond: whoever waited as long as was said must find a token. The bucket expires when it is full by all clocks.
TAKE: Final = Script("""
local bucket = base .. 'bucket:' .. ARGV[1]
local rate, burst, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', bucket, 'tokens', 'at', 'until')
local at, held = math.min(tonumber(kept[2] or now), now + 60), tonumber(kept[3] or 0) - now  -- a clock may be ahead
local wait = held
if held <= 0 then
  local tokens = math.min(burst, tonumber(kept[1] or burst) + math.max(0, now - at) * rate)
  if tokens >= 1 - 1e-6 * (1 + rate) then
    tokens, wait = tokens - 1, 0
  else
    wait = (1 - tokens) / rate
  end
  redis.call('HSET', bucket, 'tokens', exact(tokens), 'at', exact(math.max(at, now)))
end
redis.call('PEXPIRE', bucket, math.min(ARGV[5], math.ceil(1000 * (math.max(0, held) + burst / rate + 60))))
return exact(wait)
""")

# Notes a text in place of another or of none, and says what is there then.
SWAP: Final = Script("""
local note = base .. 'note:' .. ARGV[1]
local there = redis.call('GET', note)
if there and there ~= ARGV[2] then return there end
redis.call('SET', note, ARGV[3], 'PX', ARGV[4])
return ARGV[3]
""")

HOLD: Final = Script("""
local bucket = base .. 'bucket:' .. ARGV[1]
local ends_at = tonumber(ARGV[2])
if ends_at == 0 then
  redis.call('HDEL', bucket, 'until')
elseif ends_at > tonumber(redis.call('HGET', bucket, 'until') or 0) then
  redis.call('HSET', bucket, 'until', ARGV[2])
end
redis.call('PEXPIRE', bucket, ARGV[3])
""")

# Returns in turn the id, where it is and the item, of those that are there; false where the generation is another.
FATES: Final = Script("""
if ARGV[1] ~= '' and redis.call('GET', base .. 'generation') ~= ARGV[1] then return false end
local found = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local item, letter = redis.call('HGET', items, id), redis.call('HGET', letters, id)
  if item or letter then
    table.insert(found, id)
    table.insert(found, item and 'queued' or 'failed')
    table.insert(found, item or letter)
  end
end
return found
""")

DEPTHS: Final = Script("""
local depths = {}
for _, backend in ipairs(redis.call('SMEMBERS', base .. 'backends')) do
  local waiting, dead = key('waiting', backend), key('dead', backend)
  local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or ''
  table.insert(depths, {backend, redis.call('ZCARD', waiting), oldest, redis.call('ZCARD', dead)})
end
return depths
""")

# Merges the oldest of each backend's. Returns in turn the id, the backend, the time of its making and the item.
LISTED: Final = Script("""
local kind, most, from = ARGV[1], tonumber(ARGV[2]), ARGV[1] == 'dead' and letters or items
local members = {}
for _, backend in ipairs(redis.call('SMEMBERS', base .. 'backends')) do
  local range = redis.call('ZRANGE', key(kind, backend), 0, most - 1, 'WITHSCORES')
  for i = 1, #range, 2 do table.insert(members, {tonumber(range[i + 1]), range[i], backend}) end
end
table.sort(members, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local found = {}
for i = 1, math.min(most, #members) do
  local created_at, member, backend = unpack(members[i])
  local id = string.sub(member, TURN + 1)
  for _, part in ipairs({id, backend, exact(created_at), redis.call('HGET', from, id) or ''}) do
    table.insert(found, part)
  end
end
return found
""")

# Returns in turn the ids and the items of one backend at these ranks, the oldest of which is 0.
PAGE: Final = Script("""
local from = ARGV[1] == 'dead' and letters or items
local found = {}
for _, member in ipairs(redis.call('ZRANGE', key(ARGV[1], ARGV[2]), ARGV[3], ARGV[4])) do
  local id = string.sub(member, TURN + 1)
  table.insert(found, id)
  table.insert(found, redis.call('HGET', from, id) or '')
end
return found
""")

# Moves those that are still dead letters to where they were in their entries' queues: most often that is the end.
REVIVE: Final = Script("""
local function first_after(turn, backend, entry)
  local last = redis.call('LINDEX', queue(backend, entry), -1)
  if not last or redis.call('HGET', items, last) < turn then return end
  for _, id in ipairs(redis.call('LRANGE', queue(backend, entry), 0, -1)) do
    if redis.call('HGET', items, id) > turn then return id end
  end
end
local revived = 0
for i = 1, #ARGV, 5 do
  local backend, entry, id, created_at, json = unpack(ARGV, i, i + 4)
  local value = exhume(backend, id)
  if value then
    local turn = turn_of(value)
    append(backend, entry, id, created_at, turn .. json, first_after(turn, backend, entry))
    revived = revived + 1
  end
end
return revived
""")

PURGE_DEAD: Final = Script("""
local purged = 0
for i = 1, #ARGV, 2 do
  if exhume(ARGV[i], ARGV[i + 1]) then purged = purged + 1 end
end
return purged
""")

PURGE_WAITING: Final = Script("""
local purged = 0
for i = 1, #ARGV, 3 do
  local backend, entry, id = unpack(ARGV, i, i + 2)
  if not is_leased(place_of(backend, entry)) and settle(backend, entry, id) then purged = purged + 1 end
end
return purged
""")
