# Becomes systemd, the first process of namespaces of its own, with our units as we ship them and Debian's of docker.
# arguments: UNITS BINARIES
set -eu
here=/run/systemd-units
mkdir $here
for target in basic local-fs network network-online shutdown sockets sysinit; do
    printf '[Unit]\nDefaultDependencies=no\n' >$here/$target.target
done
cp "$1"/* $here/
(cd /lib/systemd/system && cp containerd.service docker.service docker.socket $here/)
cat >$here/machine.target <<UNIT
[Unit]
DefaultDependencies=no
Requires=docker.service wharf-bridge.socket wharf-ipam.socket wharf-macvlan.socket wharf-volume.socket
UNIT

mount -t tmpfs tmpfs /usr/libexec
mount -t tmpfs tmpfs /opt
mkdir -p /usr/libexec/wharfline /opt/cni/bin
cp "$2/volume-local" /usr/libexec/wharfline/
cp "$2/bridge" "$2/host-local" "$2/macvlan" /opt/cni/bin/

# The hierarchies as this namespace of control groups has them: the machine's own groups are not to be seen.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    umount -R /sys/fs/cgroup
    mount -t tmpfs tmpfs /sys/fs/cgroup
    while IFS=: read -r _ controllers _; do
        [ -n "$controllers" ] || continue
        mkdir "/sys/fs/cgroup/${controllers#name=}"
        case $controllers in
        name=*) options=none,$controllers ;;
        *) options=$controllers ;;
        esac
        mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
    done </proc/self/cgroup
fi
# As systemd has it on a host: what is mounted by one is seen by all.
mount --make-rshared /
export container=lab SYSTEMD_UNIT_PATH=$here
exec /lib/systemd/systemd --system --unit=machine.target --log-target=console --show-status=no
