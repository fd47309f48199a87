# Makes a docker-archive of one layer: static busybox, and a page for its web server.
# arguments: NAME ARCHIVE; runs in a lab, below whose /run everything stays.
set -eu
work=$(mktemp -d -p /run)
mkdir -p "$work/root/bin" "$work/root/etc" "$work/root/tmp" "$work/image"
cp /bin/busybox "$work/root/bin/busybox"
for applet in sh sleep httpd wget; do ln -s busybox "$work/root/bin/$applet"; done
echo "a page from the container" >"$work/root/page"
tar -C "$work/root" --numeric-owner --owner=0 --group=0 -cf "$work/image/layer.tar" .
layer=$(sha256sum <"$work/image/layer.tar" | cut -d' ' -f1)
cat >"$work/config" <<CONFIG
{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/httpd","-f","-p","80","-h","/"],"Env":["PATH=/bin"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"created":"2026-01-01T00:00:00Z"}
CONFIG
config=$(sha256sum <"$work/config" | cut -d' ' -f1).json
mv "$work/config" "$work/image/$config"
printf '[{"Config":"%s","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$1" >"$work/image/manifest.json"
tar -C "$work/image" -cf "$2" "$config" layer.tar manifest.json
rm -rf "$work"
