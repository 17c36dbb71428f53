#!/bin/sh
# /init of the guest's initramfs: puts an overlay on the host's root file system, and enters it.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

SHARE=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $SHARE,cache=loose,ro host /lower || poweroff -f
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/upper /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work root /new
for directory in dev proc sys; do mount --move /$directory /new/$directory; done
mount -t tmpfs -o mode=755 run /new/run
mkdir -p /new/run/lock /new/run/vm/bin /new/run/vm/control /new/dev/pts /new/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 pts /new/dev/pts
mount -t tmpfs -o mode=1777 shm /new/dev/shm
ln -s /proc/self/fd /new/dev/fd
for pair in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${pair%:*}" "/new/dev/${pair#*:}"; done

mount -t 9p -o $SHARE,cache=mmap control /new/run/vm/control
. /new/run/vm/control/env
mkdir -p "/new/lib/modules/$VM_VERSION"
mount --bind "/lower$VM_MODULES" "/new/lib/modules/$VM_VERSION"
if [ "$VM_WRITABLE" ]; then
    mkdir -p "/new$VM_WRITABLE"
    mount -t 9p -o $SHARE,cache=mmap writable "/new$VM_WRITABLE"
fi
# The host may lack kmod, as containers do. Where it has kmod, that needs indexes that busybox does
# not write, so busybox's programs take its place.
cp /bin/busybox /new/run/vm/busybox
for name in modprobe insmod rmmod lsmod modinfo ping ping6; do
    ln -s ../busybox "/new/run/vm/bin/$name"
done
for name in modprobe insmod rmmod lsmod modinfo; do
    ln -sf "/run/vm/bin/$name" "/new/sbin/$name"
done
echo /run/vm/bin/modprobe >/new/proc/sys/kernel/modprobe
exec switch_root /new /run/vm/busybox sh /run/vm/control/stage2
