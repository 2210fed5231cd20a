#!/usr/bin/env bash
# Builds libcarillon and installs it: shared and static library, header, pkg-config file.
# Usage: tools/capi/install.sh [--prefix DIR] [--destdir DIR] [--profile release|dev]
#   --prefix   where it will be found: /usr/local if left out
#   --destdir  a directory that stands in for / while a package is made
#   --profile  dev is built faster and runs slower
set -euo pipefail

prefix=/usr/local destdir='' profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --destdir | --profile)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        *)
            sed -n '2,6s/^# //p' "$0" >&2
            exit 2
            ;;
    esac
done

crate=$(cd "$(dirname "$0")" && pwd)
root=$crate/../..
built=${CARGO_TARGET_DIR:-$root/target}/$([ "$profile" = dev ] && echo debug || echo "$profile")
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
case $version in
    0.*) soname=libcarillon.so.$(cut -d. -f1,2 <<<"$version") ;;
    *) soname=libcarillon.so.${version%%.*} ;;
esac

(cd "$root" && cargo build --locked --quiet -p carillon-capi --profile "$profile")

library=$destdir$prefix/lib
install -d "$library/pkgconfig" "$destdir$prefix/include"
install -m 755 "$built/libcarillon.so" "$library/libcarillon.so.$version"
[ "$soname" = "libcarillon.so.$version" ] || ln -sf "libcarillon.so.$version" "$library/$soname"
ln -sf "$soname" "$library/libcarillon.so"
install -m 644 "$built/libcarillon.a" "$library/libcarillon.a"
install -m 644 "$crate/include/carillon.h" "$destdir$prefix/include/carillon.h"
# What Rust's standard library needs of the system: `rustc --print native-static-libs`.
cat >"$library/pkgconfig/carillon.pc" <<PC
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: carillon
Description: Arbitration of interrupt vectors, inspection and planning of Xen hosts, event channels
Version: $version
Libs: -L\${libdir} -lcarillon
Libs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl
Cflags: -I\${includedir}
PC
