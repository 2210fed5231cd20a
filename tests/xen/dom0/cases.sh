#!/bin/sh
# What dom0 does on the test bed, as soon as its toolstack is up, of what the kernel's command line names (`cases=A+B`):
#   programs            tries what carillon does in dom0
#   callback, vector    starts the guest of that name, whose events interrupt it so

record() { echo "carillon: $*"; }

# serve NAME: does what the guest asks for, until it is gone.
serve() {
    while :; do
        wanted=$(/peer "$(xl domid "$1")" "$far")
        served=$?
        [ $served = 3 ] || return $served
        save "$1" "${wanted% *}" "${wanted#* }" >"/tmp/$1.save.log" 2>&1 && continue
        record "note case=$1 text=\"$(tail -n 5 "/tmp/$1.save.log" | tr '\n"' " '")\""
        return 4
    done
}

# save NAME HOW PORT: saves the guest, which is asked by the port it offers to suspend itself; restores it if it is to be.
save() {
    xenstore-write "/local/domain/$(xl domid "$1")/device/suspend/event-channel" "$3" || return
    case $2 in
        checkpoint) xl save -c "$1" /tmp/saved ;;
        restore) xl save "$1" /tmp/saved && xl restore /tmp/saved ;;
    esac
}

# create NAME OPTIONS: starts a guest with two vCPUs.
create() {
    printf '%s\n' "name=\"$1\"" 'type="pvh"' 'kernel="/test-guest"' "cmdline=\"name=$1 dom0=peer $2\"" 'memory=32' 'vcpus=2' \
        'tsc_mode="native"' 'on_crash="destroy"' >"/tmp/$1.cfg"
    if ! xl create "/tmp/$1.cfg" >"/tmp/$1.log" 2>&1; then
        record "note case=$1 text=\"$(tail -n 1 "/tmp/$1.log" | tr '"' "'")\""
        record "case name=$1 verdict=fail"
        return 1
    fi
}

# guest NAME OPTIONS: starts a guest that runs the cases and waits until it is gone.
guest() {
    create "$1" "$2" || return
    # It ends with the guest's last request, or when there has been none for so long that the guest must hang.
    serve "$1"
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

wanted=+$(sed -n 's/.*cases=\([^ ]*\).*/\1/p' /proc/cmdline)+
case $wanted in *+programs+*)
    /edge
    sh /toolstack
    ;;
esac
# The other end of the guests' channels.
create far role=far
far=$(xl domid far)
for upcall in callback vector; do
    case $wanted in *+$upcall+*) guest $upcall "upcall=$upcall far=$far" ;; esac
done
if xl destroy far; then record 'case name=far verdict=pass'; fi
record end
