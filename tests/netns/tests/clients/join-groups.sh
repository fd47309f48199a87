# Moves to a control group of its own, NAME, in every hierarchy of the kernel, and becomes the rest of its arguments.
# arguments: NAME COMMAND...
set -eu
name=$1
shift
# systemd keeps its processes apart by a hierarchy of its own, which nobody can make in a namespace of control groups.
if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && ! grep -q :name=systemd: /proc/self/cgroup; then
    mkdir /run/hierarchy
    mount -t cgroup -o none,name=systemd cgroup /run/hierarchy
fi
while IFS=: read -r _ controllers path; do
    case $controllers in
    '') place=/sys/fs/cgroup && [ -e $place/cgroup.controllers ] || continue ;;
    name=systemd) place=/sys/fs/cgroup/systemd && [ -d $place ] || place=/run/hierarchy ;;
    *) place=/sys/fs/cgroup/${controllers#name=} ;;
    esac
    group=$place${path%/}/$name
    mkdir "$group"
    case $controllers in
    *cpuset*) for key in cpus mems; do cat "$place$path/cpuset.$key" >"$group/cpuset.$key"; done ;;
    esac
    echo $$ >"$group/cgroup.procs"
done </proc/self/cgroup
exec "$@"
