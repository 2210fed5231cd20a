#!/bin/sh
# What dom0 does on the passthrough bed: reads from a SAS disk of its own, gives the network card to a guest, records the host
# while both are busy, and moves interrupts to see which vectors they get, until the card outranks the disk. The recording goes
# to the second disk as a tar file.

readonly traced=12s
readonly recording=/tmp/recording modules=/lib/modules
readonly guest_log=/var/log/xen/console/guest-nicguest.log

record() { echo "carillon: $*"; }
# case_of NAME COMMAND...: it passes if the command succeeds; what the command printed is noted if not.
case_of() {
    name=$1
    shift
    if "$@" >/tmp/case.log 2>&1; then
        record "case name=$name verdict=pass"
    else
        record "note case=$name text=\"$(tail -n 5 /tmp/case.log | cut -c 1-300 | tr '\n"' " '")\""
        record "case name=$name verdict=fail"
    fi
}
# A second. A process is dear under the emulator, and waiting for a pipe that nobody writes to needs none.
# shellcheck disable=SC3045 # this shell is BusyBox's, which has it
pause() { read -r -t 1 _ <>/tmp/pause || true; }
# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    tries=$1
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "too late: $*"; return 1; }
        pause
    done
}

# dom0's controllers, one by MSI-X and one by a level-triggered pin, and a disk on each.
finds_disks() {
    for module in crct10dif_common crct10dif_generic crc-t10dif crc64 crc64-rocksoft t10-pi scsi_common scsi_mod \
        scsi_transport_sas raid_class sd_mod mptbase mptscsih mptsas megaraid_sas xen-pciback; do
        insmod $modules/$module.ko || return
    done
    wait_for 60 test -b /dev/sda && wait_for 60 test -b /dev/sdb
}
# function_of DEVICE: where a device is, by its PCI number.
function_of() { grep -l "$1" /sys/bus/pci/devices/*/device | sed 's#.*/\(.*\)/device#\1#'; }
# disk_at DEVICE: the disk behind such a controller.
disk_at() {
    for disk in /sys/block/sd?; do
        case $(readlink "$disk") in */"$(function_of "$1")"/*) echo "/dev/${disk##*/}" ;; esac
    done
}

# says RECORD: whether the guest has said so on its console.
says() {
    while read -r line; do
        case $line in *"carillon: $1"*) return 0 ;; esac
    done <"$guest_log"
    return 1
}
starts_the_guest() {
    card=$(function_of 0x07b0)
    printf '%s\n' 'name="nicguest"' 'type="pv"' 'kernel="/guest/vmlinux"' 'ramdisk="/guest/initrd.cpio"' \
        'cmdline="console=hvc0 mitigations=off nokaslr random.trust_cpu=on quiet iommu=soft"' \
        'memory=256' 'vcpus=1' 'tsc_mode="native"' "pci=['$card']" >/tmp/nicguest.cfg
    xl pci-assignable-add "$card" && xl create /tmp/nicguest.cfg || return
    guest=$(xl domid nicguest)
    console=$(xenstore-read "/local/domain/$guest/console/tty")
    wait_for 600 says ready
}
# ask LINE RECORD: writes a line on the guest's console and waits for its answer.
ask() {
    echo "$1" >"$console"
    wait_for 600 says "$2"
}

records_the_host() {
    /carillon record $recording --for $traced && [ -s $recording/xentrace.bin ] || return
    tr -d '\r' <"$guest_log" | sed -n '/DOMU-INT/p' >$recording/guest-interrupts.txt
}

# Every interrupt after a move.
placed() {
    pause
    /irqs | grep 'IRQ:' >/tmp/placed && { echo "== $1" && cat /tmp/placed; } >>$recording/moves.txt
}
disk_to() {
    printf '%x' $((1 << $1)) >"/proc/irq/$disk_irq/smp_affinity" && placed "dom0's IRQ to pCPU $1"
}
card_to() {
    xl vcpu-pin nicguest 0 "$1" && placed "guest's vCPU to pCPU $1"
}
# The vCPUs of dom0 are pinned from the beginning and the guest's is now, so that nothing draws a vector but these moves.
moves() {
    disk_irq=$(awk '/megasas/ { sub(":", "", $1); print $1; exit }' /proc/interrupts)
    xl vcpu-pin nicguest 0 1 && placed start || return
    for cpu in 1 2 3 0; do disk_to $cpu || return; done
    for cpu in 2 3 0 1; do card_to $cpu || return; done
}
# Whether the guest's card is above dom0's disk on pCPU 1, both being there.
outranks() {
    awk '{ vector = substr($0, index($0, "vec:") + 4, 2) }
        /PCI-MSI.* aff:.1.\/.1. .* d0:/ { disk = vector }
        /PCI-MSI.* aff:.1.\/.1. .* d[1-9][0-9]*:/ && !card { card = vector }
        END { print "card " card " disk " disk; exit !(disk != "" && card "" > disk "") }' /tmp/placed
}
# Who is moved last has the higher vector, but where the cursor begins again.
inverts() {
    disk_to 1 || return
    for _ in 1 2 3 4 5 6 7 8; do
        card_to 2 && card_to 1 || return
        outranks && return
    done
    return 1
}
# The program's 3 says that not all is well. What a person would read of it goes to the recording as well.
shows_the_inversion() {
    /carillon inspect --live >$recording/inspect.out
    /carillon plan --live --mend present >$recording/plan.out
    /carillon inspect --live --json >$recording/inverted.json
    [ $? = 3 ]
}

# Both say what they would do, and do nothing.
rehearses() {
    /carillon apply --mend present >$recording/rehearsal.out && /carillon watch --once --mend present
}
# There is nothing more to do, which is the program's 5.
watches() {
    /carillon watch --once --mend present
    [ $? = 5 ]
}
# What is inverted is put right, step by step, and the picture taken once more. Its 3 is for what only may come.
applies() {
    /carillon apply --execute --mend present --log $recording/apply.json >$recording/apply.out 2>&1 ||
        { cat $recording/apply.out; return 1; }
}
shows_it_mended() {
    /carillon inspect --live --json >$recording/mended.json
    status=$?
    [ $status = 0 ] || [ $status = 3 ]
}

mkfifo /tmp/pause
case_of disks finds_disks
case_of guest starts_the_guest
/pace disk "$(disk_at 0x0079)" 8000 >/tmp/pace &
reader=$!
# What is recorded is how the host runs, not how it begins to.
pause
case_of records records_the_host
case_of moves moves
case_of inverts inverts
case_of shows shows_the_inversion
case_of traffic ask while_inverted 'case name=card.echoes_while_inverted verdict=pass'
case_of rehearses rehearses
case_of applies applies
case_of mended shows_it_mended
case_of watches watches
case_of traffic_after ask when_mended 'case name=card.echoes_when_mended verdict=pass'

kill $reader
wait $reader
served=$?
case_of reads test $served = 0
case_of ends ask stop end
grep 'carillon: ' "$guest_log" | tr -d '\r'
# The disk on the MSI-X controller was read, the other one takes the recording.
case_of written tar cf "$(disk_at 0x0054)" -C $recording .
sync
record recorded
