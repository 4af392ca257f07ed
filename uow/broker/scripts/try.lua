-- In front of each script: for a command that one entry may spoil (a key of another type, a missing
-- right) and that must not end the script for all the others.
-- returns  what the command says; nil and the reason if the server refuses it for good. What passes
--          by itself is raised, as `redis.call` does.
local PASSING = ' BUSY CLUSTERDOWN LOADING MASTERDOWN MISCONF NOREPLICAS OOM READONLY TRYAGAIN '
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then
    return reply
  end
  for word in string.gmatch(reply.err, '%u+') do
    if string.find(PASSING, ' ' .. word .. ' ', 1, true) then
      return redis.call(...)
    end
  end
  return nil, reply.err
end
