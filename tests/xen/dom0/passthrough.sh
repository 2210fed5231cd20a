#!/bin/sh
# What dom0 does on the passthrough bed: reads from a SAS disk of its own, gives the network card to a guest, records the host
# while both are busy, and moves interrupts to see which vectors they get. The recording goes to the second disk as a tar file.

readonly traced=6
readonly recording=/tmp/recording modules=/lib/modules
readonly guest_log=/var/log/xen/console/guest-nicguest.log

record() { echo "carillon: $*"; }
verdict() {
    if [ "$1" = 0 ]; then record "case name=$2 verdict=pass"; else record "case name=$2 verdict=fail"; fi
}
# wait_for TENTHS COMMAND...: until the command succeeds.
wait_for() {
    tries=$1
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        usleep 100000
    done
}
said() { grep -q "carillon: $1" "$guest_log" 2>/dev/null; }
# dump KEY FILE: what Xen prints for a debug key.
dump() {
    xl dmesg -c >/dev/null
    xl debug-keys "$1"
    wait_for 20 sh -c "xl dmesg | grep -q '$2'"
    xl dmesg -c >"$3"
}

mkdir -p $recording && cd $recording || exit 1
xl dmesg >xl-dmesg.txt

# dom0's controllers, one by MSI-X and one by a level-triggered pin, and a disk on each.
for module in crct10dif_common crct10dif_generic crc-t10dif crc64 crc64-rocksoft t10-pi scsi_common scsi_mod scsi_transport_sas raid_class \
    sd_mod mptbase mptscsih mptsas megaraid_sas xen-pciback; do
    insmod $modules/$module.ko 2>/tmp/insmod || record "note case=disks text=\"$module: $(tail -n 1 /tmp/insmod)\""
done
wait_for 200 test -b /dev/sdb
verdict $? disks
for device in /sys/bus/pci/devices/*; do
    driver=$(readlink "$device/driver")
    echo "PCI ${device##*/} $(cat "$device/vendor") $(cat "$device/device") class=$(cat "$device/class") drv=${driver##*/}"
done >pci.txt
card=$(awk '/0x15ad 0x07b0/ { sub("0000:", "", $2); print $2 }' pci.txt)
# The disk on the MSI-X controller is read; the recording goes to the other.
for disk in sda sdb; do
    case $(readlink /sys/block/$disk) in *"$(awk '/drv=mptsas/ { print $2 }' pci.txt)"*) written=$disk ;; *) read=$disk ;; esac
done

xl pci-assignable-add "$card"
printf '%s\n' 'name="nicguest"' 'type="pv"' 'kernel="/guest/vmlinux"' 'ramdisk="/guest/initrd.cpio"' \
    "cmdline=\"console=hvc0 mitigations=off nokaslr random.trust_cpu=on quiet iommu=soft\"" \
    'memory=256' 'vcpus=1' 'tsc_mode="native"' "pci=['$card']" >/tmp/nicguest.cfg
xl create /tmp/nicguest.cfg >/tmp/create 2>&1
verdict $? created
wait_for 600 said ready
verdict $? ready

/pace /dev/"$read" 5000 &
reader=$!
# What is recorded is how the host runs, not how it begins to.
sleep 2
cat /proc/interrupts >interrupts.txt
xentrace -D -T $traced -S 256 -e 0x008af000 xentrace.bin 2>/tmp/xentrace
verdict $? traced
cat /proc/interrupts >interrupts-after.txt
dump i 'Direct vector information' dump-i.txt
dump M 'MSI information' dump-M.txt
dump z 'IO-APIC interrupt' dump-z.txt
dump e 'Event channel information' dump-e.txt
dump q 'General information' dump-q.txt
xl info >xl-info.txt
xl list >xl-list.txt
xl vcpu-list >xl-vcpu-list.txt
lsevtchn 0 >lsevtchn-0.txt
lsevtchn "$(xl domid nicguest)" >"lsevtchn-$(xl domid nicguest).txt"
gzip xentrace.bin
# The C example of the library with Xen's own, on what has just been recorded.
/toolstack $recording >/tmp/toolstack 2>&1 && grep -q '^[1-9][0-9]* inversions' /tmp/toolstack && grep -q '^plan: ' /tmp/toolstack &&
    grep -q '^d0: 4 vCPUs' /tmp/toolstack && grep -q "^d$(xl domid nicguest): 1 vCPUs" /tmp/toolstack
verdict $? toolstack

# From here on nothing draws a vector but the moves below: every vCPU stays where it is put.
for vcpu in 0 1 2 3; do xl vcpu-pin 0 $vcpu $vcpu; done
xl vcpu-pin nicguest 0 1
usleep 500000
number=$(awk '/megasas/ { sub(":", "", $1); print $1; exit }' /proc/interrupts)
# placed NAME: every interrupt after a move.
placed() {
    usleep 200000
    dump i 'Direct vector information' /tmp/placed
    { echo "== $1" && grep 'IRQ:' /tmp/placed; } >>moves.txt
}
to() {
    printf '%x' $((1 << $1)) >/proc/irq/"$number"/smp_affinity
    placed "dom0's IRQ to pCPU $1"
}
guest_to() {
    xl vcpu-pin nicguest 0 "$1"
    placed "guest's vCPU to pCPU $1"
}
placed start
for cpu in 1 2 3 0; do to $cpu; done
for cpu in 2 3 0 1; do guest_to $cpu; done
for cpu in 2 3 0 1; do
    to $cpu
    guest_to $cpu
done
record moved

kill $reader
echo stop >"$(xenstore-read "/local/domain/$(xl domid nicguest)/console/tty")"
wait_for 600 said end
verdict $? finished
sed -n '/DOMU-INT/p' $guest_log >guest-interrupts.txt
grep 'carillon: ' $guest_log | tr -d '\r'
tar cf /dev/"$written" .
sync
verdict $? written
record end
