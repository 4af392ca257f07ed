-- Extend the lease of a running job, if nothing of the job is gone.
-- KEYS[1]  the queue      KEYS[2]  the lease      KEYS[3]  the payload
-- ARGV     job id, lease in milliseconds
-- returns  0 if something is gone: the job has just been finished, or Redis has lost it
if redis.call('EXISTS', KEYS[2], KEYS[3]) < 2 or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PERSIST', KEYS[3])
return 1
