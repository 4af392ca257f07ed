-- Finish jobs, or deliver them again.
-- KEYS     queues
-- ARGV     per job: queue number, id, token, action, a number, bytes
--            done     the number: how long the result is kept, in milliseconds (0: for ever,
--                     -1: there is none); the bytes: the result, in arq's shape
--            settled  as done without a result, and whoever waits for the task's end is told
--            cron     as done, but the lease stays for a minute, as arq does it: another worker
--                     may push the same tick a little later; ours remember it for an hour
--            again    the number: milliseconds until it is due, or the score that it is given
--                     back, negated; the bytes: the payload
--            unrun    as again, and the start that arq counts is taken back
-- returns  {ids of jobs whose lease is another's by now: nothing was done with those,
--           {ids of which the server refuses something, each with the reason}}
-- Invariants: only its holder finishes a job. A lease that is gone, because Redis has lost it or a
-- stock worker's zombie has deleted it, is the holder's still. What cannot leave its queue, or
-- return to it, keeps its payload and its lease, which runs out. Hints come last, and may fail.
local FIELDS, CRON_MS, TICKED_MS = 6, 60000, 3600000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases, lost, refused, gone, hints = {}, {}, {}, {}, {}
local ending = {}

local function refuse(id, why)
  refused[#refused + 1] = id
  refused[#refused + 1] = why
end

local function deliver_again(i)
  local queue, id, number = KEYS[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 4])
  local moved, why = try('ZADD', queue, number < 0 and -number or now + number, id)
  if not moved then
    return refuse(id, why)
  end
  gone[#gone + 1] = 'arq:in-progress:' .. id
  if ARGV[i + 5] ~= '' then
    redis.call('SET', 'arq:job:' .. id, ARGV[i + 5], 'NX')
  end
  if ARGV[i + 3] == 'unrun' then
    local starts = redis.pcall('DECR', 'arq:retry:' .. id)
    if type(starts) ~= 'number' or starts <= 0 then
      gone[#gone + 1] = 'arq:retry:' .. id
    end
  end
end

local function keep_result(id, kept_ms, result)
  local kept, why = true, nil
  if kept_ms == 0 then
    kept, why = try('SET', 'arq:result:' .. id, result)
  elseif kept_ms > 0 then
    kept, why = try('SET', 'arq:result:' .. id, result, 'PX', kept_ms)
  end
  if not kept then
    refuse(id, why)
  end
end

local function forget(i)
  local id, action = ARGV[i + 1], ARGV[i + 3]
  gone[#gone + 1] = 'arq:job:' .. id
  if action == 'settled' then
    hints[#hints + 1] = 'worker:settled:' .. id
  else
    gone[#gone + 1] = 'arq:retry:' .. id
    keep_result(id, tonumber(ARGV[i + 4]), ARGV[i + 5])
  end
  if action == 'cron' then
    redis.call('SET', 'arq:in-progress:' .. id, ARGV[i + 2], 'PX', CRON_MS)
    redis.call('SET', 'worker:ticked:' .. id, '', 'PX', TICKED_MS)
  else
    gone[#gone + 1] = 'arq:in-progress:' .. id
  end
end

for i = 1, #ARGV, FIELDS do
  leases[#leases + 1] = 'arq:in-progress:' .. ARGV[i + 1]
end
local holders = redis.call('MGET', unpack(leases))
for i = 1, #ARGV, FIELDS do
  local queue, id, token, action = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local holder = holders[(i + FIELDS - 1) / FIELDS]
  if holder and holder ~= token then
    lost[#lost + 1] = id
  elseif action == 'again' or action == 'unrun' then
    deliver_again(i)
  else
    ending[queue] = ending[queue] or {at = {}, ids = {}}
    table.insert(ending[queue].at, i)
    table.insert(ending[queue].ids, id)
  end
end
for queue, jobs in pairs(ending) do
  local removed, why = try('ZREM', KEYS[queue], unpack(jobs.ids))
  for n, i in ipairs(jobs.at) do
    if removed then
      forget(i)
    else
      refuse(jobs.ids[n], why)
    end
  end
  redis.pcall('ZREM', 'arq:abort', unpack(jobs.ids))  -- not ours: whatever it is, it stops nothing
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
end
-- A connection that is told of changes is told of those after its last read.
for _, queue in ipairs(KEYS) do
  try('ZCARD', queue)
end
for _, hint in ipairs(hints) do
  local told = redis.pcall('PUBLISH', hint, '')
  if type(told) ~= 'number' then
    break  -- nor would it take the others
  end
end
return {lost, refused}
