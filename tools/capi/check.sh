#!/usr/bin/env bash
# Installs libcarillon below target/, builds the C programs against it by pkg-config, shared and static, and runs them under
# valgrind, which must find nothing to object to. Says SKIP and why where the machine lacks what that takes.
set -euo pipefail
cd "$(dirname "$0")/../.."

for command in cc pkg-config valgrind; do
    if ! command -v "$command" >/dev/null 2>&1; then
        echo "SKIP capi: $command is not installed (apt-get install gcc libc6-dev pkg-config valgrind)"
        exit 0
    fi
done

readonly prefix=$PWD/target/capi
readonly recording=tools/sim/data/xen-sas-intx
readonly warnings=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -pedantic)
rm -rf "$prefix"
tools/capi/install.sh --prefix "$prefix" --profile dev
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

# Reads a list of flags that pkg-config prints.
flags() { read -ra "$1" <<<"$(pkg-config "${@:2}" carillon)"; }
declare -a shared static cflags
flags cflags --cflags
flags shared --libs
flags static --static --libs-only-other
read -ra private <<<"$(sed -n 's/^Libs.private: //p' "$prefix/lib/pkgconfig/carillon.pc")"

# What is still reachable at the end is what the library keeps for good, such as its table of handles.
check() { valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible "$@"; }

# The library says its soname, and exports what the header declares and nothing else.
soname=$(objdump -p "$prefix/lib/libcarillon.so" | awk '$1 == "SONAME" { print $2 }')
[ -e "$prefix/lib/$soname" ] || { echo "the soname $soname is no file"; exit 1; }
exported=$(nm -D --defined-only "$prefix/lib/libcarillon.so" | awk '$2 == "T" { print $3 }' | sort)
declared=$(grep -oE '\bcarillon_[a-z_0-9]+\(' "$prefix/include/carillon.h" | tr -d '(' | sort -u)
diff <(echo "$declared") <(echo "$exported") || { echo "declared (<) and exported (>) functions differ"; exit 1; }
# Every one of them is abused.
for function in $declared; do
    grep -q "\b$function\b" tools/capi/tests/abuse.c || { echo "$function is not in abuse.c"; exit 1; }
done

for program in tools/capi/examples/toolstack.c tools/capi/tests/abuse.c; do
    name=$(basename "$program" .c)
    cc "${warnings[@]}" "${cflags[@]}" -g -o "$prefix/$name" "$program" "${shared[@]}" -Wl,-rpath,"$prefix/lib"
    cc "${warnings[@]}" "${cflags[@]}" -g -o "$prefix/$name-static" "$program" "${static[@]}" "$prefix/lib/libcarillon.a" "${private[@]}"
done
c++ -std=c++17 -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only -x c++ "$prefix/include/carillon.h" 2>/dev/null ||
    ! command -v c++ >/dev/null 2>&1 || { echo "the header is no C++"; exit 1; }

check "$prefix/abuse"
check "$prefix/toolstack" "$recording" | tee "$prefix/toolstack.txt"
"$prefix/abuse-static"
"$prefix/toolstack-static" "$recording" | diff "$prefix/toolstack.txt" -
for sentence in '^[1-9][0-9]* inversions' '^plan: [1-9]' '^d1 was kicked [1-9]' 'remapped\|iommu=intpost'; do
    grep -q "$sentence" "$prefix/toolstack.txt" || { echo "the example does not say '$sentence'"; exit 1; }
done

# With Xen's own library beside it: linked and started here, of use in dom0.
if [ -e /usr/include/xenctrl.h ]; then
    # Xen's headers are GNU C.
    cc -std=gnu11 -Wall -Wextra -Werror "${cflags[@]}" -DWITH_XENCTRL -o "$prefix/toolstack-xen" tools/capi/examples/toolstack.c \
        "${shared[@]}" -lxenctrl -Wl,-rpath,"$prefix/lib"
    check "$prefix/toolstack-xen" "$recording" | grep "^no Xen here\|^d0: " >/dev/null || { echo "the example with libxenctrl does not look for Xen"; exit 1; }
else
    echo 'SKIP capi with libxenctrl: xenctrl.h is not installed (apt-get install libxen-dev)'
fi
