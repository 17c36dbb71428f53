# Pid 1 of the guest, run by busybox: runs the command, leaves its status, ends the machine.
#
# The command writes into pipes and not into the virtio ports themselves: a port can be open only
# once, so that /dev/stdout would fail.
busybox=/run/vm/busybox
control=/run/vm/control
$busybox ip link set lo up
echo vm >/proc/sys/kernel/hostname
$busybox mkfifo /run/vm/1 /run/vm/2
$busybox cat /run/vm/1 >"$(echo /dev/vport*p1)" & out=$!
$busybox cat /run/vm/2 >"$(echo /dev/vport*p2)" & err=$!
echo >$control/up
bash $control/command </dev/null >/run/vm/1 2>/run/vm/2
status=$?
# What the command left running may hold the pipes: end it, then let them run dry.
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case $process in 1|$out|$err) ;; *) kill -9 $process ;; esac
done 2>/dev/null
wait $out $err
# By the guest's own clock.
$busybox cut -d' ' -f1 /proc/uptime >$control/uptime
echo $status >$control/status
$busybox sync
# A reset; with -no-reboot QEMU ends at once.
echo b >/proc/sysrq-trigger
