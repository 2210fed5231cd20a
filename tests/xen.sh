#!/usr/bin/env bash
# Boots Debian's Xen 4.17 with a Linux dom0 under QEMU, runs the test guest in its domains, and judges what they say: each
# case is a test. The test guest is booted without Xen, too. No hardware virtualization is needed.
# Usage: tests/xen.sh [ARGUMENTS]                 arguments are the test runner's, such as the name of a test
#        tests/xen.sh passthrough [ARGUMENTS]     a network card in a Linux guest's hands instead: four CPUs, some minutes
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

readonly made=$PWD/target/xen
readonly system=usr/lib/x86_64-linux-gnu

if ! command -v qemu-system-x86_64 >/dev/null; then
    echo 'SKIP xen: qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)'
    exit 0
fi
mkdir -p "$made"
tests/xen/prepare >"$made/prepare.log" 2>&1
case $? in
    0) ;;
    3)
        echo "SKIP xen: $(tail -n 1 "$made/prepare.log")"
        exit 0
        ;;
    *)
        cat "$made/prepare.log"
        exit 1
        ;;
esac

set -e
if [ "${1-}" = passthrough ]; then
    shift
    tests/xen/passthrough
    cargo test --locked -p carillon-xen-tests --test passthrough -- --show-output "$@"
    exit
fi
CARGO_TARGET_DIR=target/test-guest cargo build --release --locked --manifest-path tests/test-guest/Cargo.toml
# Linux unpacks one archive after the other.
rm -rf "$made/overlay"
mkdir -p "$made/overlay"
strip -o "$made/overlay/test-guest" target/test-guest/release/test-guest
libraries=("$made/root/$system"/lib{xenevtchn,xenforeignmemory,xencall,xentoollog,xentoolcore}.a)
gcc -O2 -Wall -Wextra -Werror -I "$made/root/usr/include" -o "$made/overlay/peer" tests/xen/dom0/peer.c "${libraries[@]}"
cargo build --locked -p carillon --bin carillon
cargo build --locked -p carillon-xen-host --example cases
# The C example with Xen's own library beside ours.
tools/capi/install.sh --prefix "$made/capi" --profile dev
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -DWITH_XENCTRL -I "$made/capi/include" -I "$made/root/usr/include" \
    -o "$made/overlay/c-toolstack" tools/capi/examples/toolstack.c -L "$made/capi/lib" -lcarillon \
    -L "$made/root/$system" -lxenctrl -Wl,-rpath-link,"$made/root/$system"
mkdir -p "$made/overlay/$system"
cp -P "$made"/capi/lib/libcarillon.so.* "$made/overlay/$system/"
strip --strip-debug "$made/overlay/$system"/libcarillon.so.*.*.*
strip -o "$made/overlay/carillon" target/debug/carillon
strip -o "$made/overlay/edge" target/debug/examples/cases
# What they need is there already, but for libm; dom0's libraries are this machine's (tests/xen/prepare).
for library in $(ldd "$made/overlay/carillon" "$made/overlay/edge" "$made/capi/lib/libcarillon.so" | awk '$2 == "=>" { print $3 }' | sort -u); do
    [ -e "$made/tree/$system/$(basename "$library")" ] || cp -L "$library" "$made/overlay/$system/"
done
install -m 755 tests/xen/dom0/cases.sh "$made/overlay/cases"
install -m 755 tests/xen/dom0/toolstack.sh "$made/overlay/toolstack"
{
    cat "$made/dom0.cpio"
    (cd "$made/overlay" && find . | "$made/root/bin/busybox" cpio -o -H newc 2>/dev/null)
} >"$made/initrd.cpio"
cargo test --locked -p carillon-xen-tests --test on_xen -- --show-output "$@"
