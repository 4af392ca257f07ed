-- Push a tick of a cron job, unless somebody has.
-- KEYS     the queue, the tick's guard, the job's payload; then what else says that the job is there
-- ARGV     job id, score, payload, its milliseconds to live, who pushes, milliseconds of the guard
-- returns  whether this call was the first to decide about the tick
-- Invariant: who takes the guard decides, once and for all who share it: a job that is there already
-- is not pushed by somebody else later. Each who comes too late keeps the guard for longer.
local queue, guard, job = KEYS[1], KEYS[2], KEYS[3]
local id, score, payload, lives, who, guarded = unpack(ARGV)
if not redis.call('SET', guard, who, 'NX', 'PX', guarded) then
  redis.call('PEXPIRE', guard, guarded)
  return 0
end
if redis.call('EXISTS', unpack(KEYS, 3)) == 0 then
  redis.call('SET', job, payload, 'PX', lives)
  redis.call('ZADD', queue, score, id)
end
return 1
