#!/bin/sh
# The program in dom0: what it shows of the live host, and what it records of it. A guest is there meanwhile, paused, so that
# nothing of the picture changes between two looks at it.

record() { echo "carillon: $*"; }

# case NAME COMMAND...: it passes if the command succeeds; what the command printed is noted if not.
case_of() {
    name=$1
    shift
    if "$@" >/tmp/case.log 2>&1; then
        record "case name=live.$name verdict=pass"
    else
        record "note case=live.$name text=\"$(tail -n 5 /tmp/case.log | cut -c 1-300 | tr '\n"' " '")\""
        record "case name=live.$name verdict=fail"
    fi
}

# answers FILE COMMAND...: the command could do its work: it says yes (0) or no (3).
answers() {
    file=$1
    shift
    "$@" >"$file"
    status=$?
    [ $status = 0 ] || [ $status = 3 ]
}

# refuses WORDS COMMAND...: the command cannot do its work, and says these words.
refuses() {
    words=$1
    shift
    "$@" >/tmp/refused.log 2>&1
    status=$?
    cat /tmp/refused.log
    [ $status = 1 ] && grep -q -- "$words" /tmp/refused.log
}

inspects() {
    answers /tmp/live.json /carillon inspect --live --json &&
        grep -q '"xen_version": "4.17' /tmp/live.json && grep -q '"scheduler": "credit2"' /tmp/live.json &&
        grep -q '"name": "onlooker"' /tmp/live.json && grep -q 'timer_interrupt\|"owner": "d0"' /tmp/live.json
}

records() {
    /carillon record /tmp/host --for 1s >/tmp/record.txt && cat /tmp/record.txt &&
        for file in dump-i dump-M dump-z dump-e dump-q xl-info xl-list xl-vcpu-list lsevtchn-0 pci interrupts \
            interrupts-after xl-dmesg; do
            [ -s "/tmp/host/$file.txt" ] || { echo "no $file.txt"; return 1; }
        done && [ -s /tmp/host/xentrace.bin ]
}

# The same picture, live and recorded, but for what the picture is called.
same_picture() {
    answers /tmp/recorded.json /carillon inspect --from /tmp/host --json || return
    answers /tmp/again.json /carillon inspect --live --json || return
    sed 's#/tmp/host#this host#g' /tmp/recorded.json >/tmp/recorded
    diff /tmp/recorded /tmp/again.json
}

# What xl and lsevtchn say themselves, column for column; times go on meanwhile.
agrees_with_xl() {
    xl list | awk '{ print $1, $2, $3, $4 }' >/tmp/xl && awk '{ print $1, $2, $3, $4 }' /tmp/host/xl-list.txt |
        diff /tmp/xl - || return
    xl vcpu-list | awk '{ print $1, $2, $3, $4, $7, $8, $9 }' >/tmp/xl && awk '{ print $1, $2, $3, $4, $7, $8, $9 }' \
        /tmp/host/xl-vcpu-list.txt | diff /tmp/xl - || return
    for field in nr_cpus max_cpu_id cpu_mhz xen_version xen_caps xen_scheduler xen_commandline cc_compile_date; do
        xl info "$field" | sed 's/ *$//' >/tmp/xl
        sed -n "s/^$field *: //p" /tmp/host/xl-info.txt | diff /tmp/xl - || return
    done
    lsevtchn 0 >/tmp/xl && diff /tmp/xl /tmp/host/lsevtchn-0.txt
}

# Nothing is taken from the hypervisor's log: its first line is still there, and so is what every look at the host printed.
leaves_the_log() {
    xl dmesg | grep -q 'Xen version 4.17' && [ "$(xl dmesg | grep -c 'MSI information:')" -ge 2 ]
}

reads_its_trace() {
    /carillon simulate --from /tmp/host --for 2ms --json >/tmp/simulated.json || return
    ! grep -q 'xentrace.bin is not there' /tmp/simulated.json
}

plans() { answers /tmp/plan.json /carillon plan --live --json && grep -q '"name": "this host"' /tmp/plan.json; }

# The vectors in a document, each once.
vectors() { sed -n 's/.*"vector": "\([0-9a-f]*\)".*/\1/p' "$1" | sort -u; }

# c_program_sees HOST DOCUMENT: the C example, on the C library and libxenctrl, finds the vectors that the program found.
c_program_sees() {
    /c-toolstack "$1" /tmp/c.json >/tmp/c.txt || return
    vectors "$2" >/tmp/expected
    vectors /tmp/c.json >/tmp/found
    [ -s /tmp/expected ] && diff /tmp/expected /tmp/found
}

# c_program NAME HOST DOCUMENT: a case of that, with what the example printed as notes for the runner.
c_program() {
    : >/tmp/c.txt
    case_of "$1" c_program_sees "$2" "$3"
    tr '"' "'" </tmp/c.txt | while read -r line; do record "note case=live.$1 text=\"$line\""; done
}

# How often dom0's timer came in all, by the kernel.
timer() { awk '/timer0$/ { print $2 }' /proc/interrupts; }

# What top counts lies within what the kernel counts around it, and Xen's serial line interrupts while something is printed.
counts() {
    before=$(timer)
    i=0
    while [ $i -lt 40 ]; do
        echo 'a line for the serial port, which interrupts when it is through'
        usleep 20000
        i=$((i + 1))
    done >/dev/console &
    /carillon top --batch 2 --interval 400ms --json >/tmp/top.json || return
    after=$(timer)
    counted=$(awk '/"name": "timer0"/ { getline; gsub(/[^0-9]/, ""); sum += $0 } END { print sum + 0 }' /tmp/top.json)
    echo "timer: $counted of $((after - before))"
    [ "$counted" -gt 0 ] && [ "$counted" -le "$((after - before))" ] || return
    [ "$(grep -c '"host": "this host"' /tmp/top.json)" = 2 ] || return
    grep -q '"device": "ns16550_interrupt"' /tmp/top.json && grep -q '"name": "pCPU 0"' /tmp/top.json
}

# The recording's own rates: its trace is of the whole time, so the serial line is in it only if it spoke.
counts_a_recording() { /carillon top --from /tmp/host --json >/tmp/top.json && grep -q '"name": "timer0"' /tmp/top.json; }

without_terminal() { refuses 'no terminal' /carillon top; }

without_device() {
    mv /dev/xen/privcmd /dev/xen/privcmd.away
    refuses 'modprobe xen-privcmd' /carillon inspect --live
    status=$?
    mv /dev/xen/privcmd.away /dev/xen/privcmd
    return $status
}

without_root() {
    echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >/etc/passwd
    refuses 'run it as root' su -s /bin/sh nobody -c '/carillon inspect --live'
}

printf '%s\n' 'name="onlooker"' 'type="pvh"' 'kernel="/test-guest"' 'memory=32' 'vcpus=2' 'tsc_mode="native"' >/tmp/onlooker.cfg
case_of starts_a_guest xl create -p /tmp/onlooker.cfg
case_of inspects inspects
case_of records records
case_of same_picture same_picture
case_of agrees_with_xl agrees_with_xl
case_of leaves_the_log leaves_the_log
case_of reads_its_trace reads_its_trace
case_of plans plans
c_program c_program --live /tmp/live.json
c_program c_program_on_a_recording /tmp/host /tmp/recorded.json
case_of counts counts
case_of counts_a_recording counts_a_recording
case_of without_terminal without_terminal
case_of refuses_a_full_directory refuses 'is not empty' /carillon record /tmp/host
case_of without_device without_device
case_of without_root without_root
xl destroy onlooker
