#!/bin/sh
# What dom0 does on the test bed, as soon as its toolstack is up: tries what carillon does in dom0, then starts the guests,
# one after the other.

record() { echo "carillon: $*"; }

# guest NAME OPTIONS: starts a guest with two vCPUs and waits until it is gone.
guest() {
    printf '%s\n' "name=\"$1\"" 'type="pvh"' 'kernel="/test-guest"' "cmdline=\"name=$1 dom0=peer $2\"" 'memory=32' 'vcpus=2' \
        'tsc_mode="native"' 'on_crash="destroy"' >"/tmp/$1.cfg"
    if ! xl create "/tmp/$1.cfg" >"/tmp/$1.log" 2>&1; then
        record "note case=$1 text=\"$(tail -n 1 "/tmp/$1.log" | tr '"' "'")\""
        record "case name=$1 verdict=fail"
        return
    fi
    # It ends with the guest's last request, or when there has been none for so long that the guest must hang.
    /peer "$(xl domid "$1")"
    served=$?
    [ $served = 0 ] || xl destroy "$1"
    while xl domid "$1" >/dev/null 2>&1; do usleep 100000; done
    # xl has watched the guest, and says how it went: reason 0 is a guest that has powered itself off.
    log=$(cat "/var/log/xen/xl-$1.log")
    case $served$log in
        0*'reason code 0 '*) record "case name=$1 verdict=pass" ;;
        *)
            record "note case=$1 text=\"served $served; $(echo "$log" | tr '\n"' " '")\""
            record "case name=$1 verdict=fail"
            ;;
    esac
}

/edge
sh /toolstack
guest callback upcall=callback
guest vector upcall=vector
record end
