//! The emulator's arguments.
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{config::Settings, image::Image};

/// What the machine starts from.
pub(super) struct Images {
    pub(super) root: Option<Image>,
    pub(super) bios: Option<PathBuf>,
    /// Firmware, and the initial content of its variables.
    pub(super) ovmf: Option<(PathBuf, PathBuf)>,
    /// Directory that the guest sees as a disk.
    pub(super) cloud_init: PathBuf,
}

/// Everything about one run that the configuration does not say.
pub(super) struct Launch<'a> {
    pub(super) kvm: bool,
    /// Bytes.
    pub(super) memory: u64,
    /// Socket that the emulator connects to for its control protocol.
    pub(super) qmp: &'a Path,
    /// Socket that it listens on for the screen.
    pub(super) vnc: &'a Path,
    pub(super) images: &'a Images,
}

/// The arguments of a machine that waits for `cont` before its first instruction.
pub(super) fn arguments(settings: &Settings, launch: &Launch<'_>) -> Vec<String> {
    let mut all: Vec<String> = ["-nodefaults", "-nographic", "-S"].map(str::to_owned).into();
    let mut add = |name: &str, value: String| all.extend([name.to_owned(), value]);
    if launch.kvm {
        add("-accel", "kvm".to_owned());
    }
    match settings.arch.as_str() {
        "aarch64" => add("-machine", "virt".to_owned()),
        "x86_64" => add("-machine", "q35".to_owned()),
        _ => {}
    }
    if let Some(cpu) = cpu(settings, launch.kvm) {
        add("-cpu", cpu);
    }
    add("-chardev", format!("socket,id=qmp,server=off,path={}", escaped(launch.qmp)));
    add("-mon", "chardev=qmp,mode=control".to_owned());
    add("-smp", settings.smp.to_string());
    add("-m", format!("{}B", launch.memory));
    add("-vnc", format!("unix:{}", escaped(launch.vnc)));
    add("-vga", "none".to_owned());
    add("-serial", "pty".to_owned());
    let forwards = settings
        .hostfwd
        .iter()
        .map(|(_, forward)| format!(",hostfwd=tcp:{}:{}-:{}", forward.hostaddr, forward.hostport, forward.guestport));
    add("-netdev", format!("user,id=eth0{}", forwards.collect::<String>()));
    add("-device", "virtio-net-pci,netdev=eth0".to_owned());
    add("-device", "virtio-gpu-pci".to_owned());
    if let Some(cid) = settings.cid {
        add("-device", format!("vhost-vsock-pci,guest-cid={cid}"));
    }
    let Images { root, bios, ovmf, cloud_init } = launch.images;
    if let Some(bios) = bios {
        add("-bios", bios.display().to_string());
    }
    if let Some((code, variables)) = ovmf {
        add("-drive", format!("file={},if=pflash,format=raw,unit=0,readonly=on", escaped(code)));
        let variables = escaped(variables);
        add("-drive", format!("file={variables},if=pflash,format=raw,unit=1,snapshot=on,readonly=off"));
    }
    if let Some(Image { path, format, .. }) = root {
        let file = json!({ "driver": "file", "filename": path });
        add("-blockdev", json!({ "driver": format.as_str(), "node-name": "rootfs", "file": file }).to_string());
        add("-device", "virtio-blk-pci,drive=rootfs,bootindex=1".to_owned());
    }
    let cloud_init = json!({
        "driver": "vvfat", "node-name": "cidata", "read-only": true, "dir": cloud_init, "label": "CIDATA",
    });
    add("-blockdev", cloud_init.to_string());
    add("-device", "virtio-blk-pci,drive=cidata".to_owned());
    all
}

/// What the configuration says, or a model that common distributions run on.
fn cpu(settings: &Settings, kvm: bool) -> Option<String> {
    if let Some(cpu) = &settings.cpu {
        return Some(cpu.clone());
    }
    let model = match settings.arch.as_str() {
        _ if kvm => "host",
        "aarch64" => "cortex-a57",
        "x86_64" => "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
        _ => return None,
    };
    Some(model.to_owned())
}

/// A path inside an option: a comma would begin the next part.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
