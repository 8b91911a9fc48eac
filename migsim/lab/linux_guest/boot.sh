#!/bin/busybox sh
# The guest's process 1: tmpfs for all that is written, the server, then the users. The disk is never written
# (but once, while the image is built: migsim.prepare).
export PATH=/usr/lib/postgresql/15/bin:/usr/bin LC_ALL=C HOME=/tmp PGHOST=/run PGUSER=postgres

say() { echo "migsim-linux $*" >/dev/ttyS1; }
give_up() {
  say "error $*"
  tail -n 20 /run/*.log
  exec sleep 100000000
}
setting() { sed -nE "s/.*migsim\.$1=([^ ]*).*/\1/p" /proc/cmdline; }
number() {
  local value
  value=$(setting "$1")
  value=${value:-$2}
  case $value in
  '' | *[!0-9]*) give_up "migsim.$1=$value is no whole number" ;;
  esac
  echo "$value"
}
as_postgres() { su -m -s /bin/sh -c 'exec "$@"' -- postgres sh "$@"; }

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o size=95% run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
chmod 1777 /tmp /dev/shm /run
stty -F /dev/ttyS1 raw -echo
hostname migsim
ip link set lo up
say "boot version=1 kernel=$(uname -r)"

start_postgres() { # data directory, settings...
  local data=$1 waited=0
  shift
  as_postgres postgres -D "$data" -k /run -c listen_addresses= -c jit=off "$@" >/run/postgres.log 2>&1 &
  until pg_isready -q; do
    waited=$((waited + 1))
    [ $waited -lt 300 ] || give_up "PostgreSQL does not start"
    sleep 0.1
  done
}

prepare() {
  mkdir -p /base && chown postgres /base
  as_postgres initdb -D /base/cluster -E UTF8 --locale=C --no-sync --auth=trust --wal-segsize=16 >/run/initdb.log 2>&1 ||
    give_up "initdb failed"
  start_postgres /base/cluster -c fsync=off -c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off \
    -c max_wal_size=32MB -c min_wal_size=32MB -c shared_buffers=256MB
  { createdb branch1 && psql -q -d branch1 -f /migsim/schema.sql && psql -q -d branch1 -f /migsim/transactions.sql &&
    psql -q -d branch1 -c 'CREATE EXTENSION pg_prewarm' && vacuumdb -q -a -F -z; } >/run/load.log 2>&1 ||
    give_up "the schema does not load"
  as_postgres pg_ctl -D /base/cluster -m fast -w stop >/run/stop.log 2>&1 || give_up "PostgreSQL does not stop"
  du -sk /base/cluster/base | cut -f 1 >/base/size_kib
  mount -o remount,ro / || give_up "the root disk stays busy"
  say prepared
  poweroff -f
}

[ -z "$(setting prepare)" ] || prepare

workload=$(setting workload)
users=$(number users 75)
percent=$(number shared_buffers_percent 40)
ram_mib=$(($(sed -nE 's/^MemTotal: *([0-9]*) kB/\1/p' /proc/meminfo) / 1024))
buffers_mib=$((ram_mib * percent / 100))
run_users() {
  # for whoever reads the console: the clock, and what is left of the RAM once the users work
  cat /sys/devices/system/clocksource/clocksource0/current_clocksource >/dev/console
  (sleep 30 && head -n 5 /proc/meminfo >/dev/console) &
  /migsim/users workload="$workload" users="$users" think_us=$(($(number think_ms "$think_ms") * 1000)) \
    report_ms="$(number report_ms 1000)" seed="$(number seed 1)" buffers_bytes=$((buffers_mib << 20)) "$@" \
    2>/run/users.log
  give_up "the users have gone: $(tail -n 1 /run/users.log)"
}

order_entry() {
  local base_mib branches i log_mib
  base_mib=$(($(cat /base/size_kib) / 1024))
  log_mib=$((ram_mib / 32 > 48 ? ram_mib / 32 : 48))
  # Data for 70 % of the buffers, as far as the RAM has room for data, buffers, log, kernel and 3 MiB a backend.
  branches=$((buffers_mib * 70 / 100))
  i=$((ram_mib - buffers_mib * 102 / 100 - log_mib - 350 - users * 3))
  [ $branches -le $i ] || branches=$i
  branches=$((branches / base_mib))
  [ $branches -ge 1 ] || branches=1
  mkdir /run/db && cp -a /base/cluster /run/db/ || give_up "no room for the database"
  set -- -c shared_buffers=${buffers_mib}MB -c max_connections=$((users + 10)) -c max_wal_size=${log_mib}MB \
    -c min_wal_size=32MB -c checkpoint_timeout=60s -c plan_cache_mode=force_generic_plan
  i=$(as_postgres postgres -D /run/db/cluster "$@" -C shared_memory_size_in_huge_pages 2>/run/postgres.log) ||
    give_up "PostgreSQL does not tell its size"
  echo $((i + 2)) >/proc/sys/vm/nr_hugepages
  start_postgres /run/db/cluster -c huge_pages=on "$@"
  i=2
  while [ $i -le $branches ]; do
    echo "CREATE DATABASE branch$i TEMPLATE branch1 STRATEGY FILE_COPY;"
    i=$((i + 1))
  done | psql -q -d postgres >/run/branches.log 2>&1
  i=1
  while [ $i -le $branches ]; do
    psql -q -t -d branch$i -c "SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE relkind IN ('r', 'i')" \
      >>/run/branches.log 2>&1 || give_up "branch $i is not there"
    i=$((i + 1))
  done
  run_users branches=$branches
}

store() {
  printf 'port 0\nunixsocket /run/store.sock\nsave ""\nappendonly no\nmaxmemory-policy noeviction\n' >/run/store.conf
  redis-server /run/store.conf >/run/store.log 2>&1 &
  run_users
}

think_ms=700
case $workload in
order-entry) order_entry ;;
store) think_ms=50 store ;;
idle) run_users ;;
*) give_up "migsim.workload is '$workload': order-entry, store or idle" ;;
esac
