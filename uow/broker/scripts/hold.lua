-- Extend the lease of a running job, and put back what Redis may have lost of it.
-- KEYS[1]  the queue      KEYS[2]  the lease      KEYS[3]  the payload
-- ARGV     job id, score, payload (empty: none to put back), lease in milliseconds
-- Invariant: while its worker lives, a running job has a lease, an entry and a payload.
redis.call('SET', KEYS[2], '1', 'PX', ARGV[4])
try('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
redis.call('PERSIST', KEYS[3])
return 1
