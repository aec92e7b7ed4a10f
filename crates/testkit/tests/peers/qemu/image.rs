//! A disk that a virtual machine starts from: a boot loader, Debian's kernel, and a system of one shell script.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use jumpstarter_peers::{GUEST_MODULES, Guest};

/// Bytes of the disk.
pub(super) const SIZE: u64 = 24 << 20;

/// What the kernel starts: a network, a web server, and a shell on the serial port that does as it is told.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /www
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules); do insmod /$module.ko; done
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
echo 'hello from the guest' > /www/index.html
httpd -p 80 -h /www
echo 'guest ready' > /dev/ttyS0
while :; do sh < /dev/ttyS0 > /dev/ttyS0 2>&1; done
";

const BOOT: &str = "DEFAULT linux
LABEL linux
  LINUX vmlinuz
  INITRD initrd
  APPEND console=ttyS0 quiet panic=-1
";

/// Makes the disk in `dir`.
#[track_caller]
pub(super) fn make(dir: &Path) -> PathBuf {
    let guest = Guest::find().unwrap_or_else(|missing| panic!("{missing}"));
    let (disk, initrd, boot) = (dir.join("disk.img"), dir.join("initrd"), dir.join("syslinux.cfg"));
    fs::write(&initrd, archive(&guest)).unwrap();
    fs::write(&boot, BOOT).unwrap();
    File::create(&disk).unwrap().set_len(SIZE).unwrap();
    run(Command::new("mkfs.fat").args(["-F", "16"]).arg(&disk));
    run(Command::new("syslinux").arg("--install").arg(&disk));
    let mut copy = Command::new("mcopy");
    run(copy.arg("-i").arg(&disk).args([&guest.kernel(), &initrd, &boot]).arg("::/"));
    disk
}

#[track_caller]
fn run(command: &mut Command) {
    // Where Debian keeps programs of administrators.
    let path = std::env::var("PATH").unwrap_or_default();
    let done = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output();
    let done = done.unwrap_or_else(|err| panic!("{command:?}: {err}: run `cargo xtask setup`"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The system's first files, as the kernel unpacks them.
fn archive(guest: &Guest) -> Vec<u8> {
    let mut all = Vec::new();
    let modules = GUEST_MODULES.join(" ");
    entry(&mut all, "bin", 0o040_755, b"");
    entry(&mut all, "dev", 0o040_755, b"");
    entry(&mut all, "init", 0o100_755, INIT.as_bytes());
    entry(&mut all, "modules", 0o100_644, modules.as_bytes());
    entry(&mut all, "bin/busybox", 0o100_755, &fs::read(guest.busybox()).unwrap());
    for module in GUEST_MODULES {
        entry(&mut all, &format!("{module}.ko"), 0o100_644, &fs::read(guest.module(module)).unwrap());
    }
    entry(&mut all, "TRAILER!!!", 0, b"");
    all
}

/// One file in the format `newc` of cpio: a head of hexadecimal numbers, the name, the content, each padded to four
/// bytes.
fn entry(all: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let pad = |all: &mut Vec<u8>| all.resize(all.len().next_multiple_of(4), 0);
    let mut head = String::from("070701");
    let inode = u32::try_from(all.len() / 4 + 1).unwrap();
    let (size, name_size) = (u32::try_from(content.len()).unwrap(), u32::try_from(name.len() + 1).unwrap());
    for number in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        write!(head, "{number:08X}").unwrap();
    }
    all.extend_from_slice(head.as_bytes());
    all.extend_from_slice(name.as_bytes());
    all.push(0);
    pad(all);
    all.extend_from_slice(content);
    pad(all);
}
