//! Disk images before a machine uses them.
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::statvfs;
use serde::Deserialize;
use serde_json::Value;

use crate::{DriverError, DriverLog};

use super::{program, size};

/// Looking into a header.
const INFO_LIMIT: Duration = Duration::from_secs(30);
/// Growing an image writes little.
const RESIZE_LIMIT: Duration = Duration::from_mins(2);

/// Formats that the emulator writes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Qcow2,
    Qcow,
    Vmdk,
}

impl Format {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Vmdk => "vmdk",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2, Self::Qcow, Self::Vmdk].into_iter().find(|format| format.as_str() == name)
    }
}

/// An image that can be attached.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Bytes that the guest sees.
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: Value,
}

impl Image {
    /// Looks into the image at `path`. A client's image must not lead to other files of the host.
    pub(super) async fn probe(path: PathBuf, from_client: bool) -> Result<Self, DriverError> {
        let shown = path.display().to_string();
        let args = ["info", "--force-share", "--output=json", "--", shown.as_str()];
        let told = program::output("qemu-img", &args, INFO_LIMIT).await?;
        let wrong = |what: &str| DriverError::Other(format!("image '{shown}': {what}"));
        if !told.status.success() {
            return Err(wrong(&format!("qemu-img says {}", String::from_utf8_lossy(&told.stderr).trim())));
        }
        let info: Info = serde_json::from_slice(&told.stdout)
            .map_err(|err| wrong(&format!("qemu-img's answer cannot be read: {err}")))?;
        let format = Format::parse(&info.format)
            .ok_or_else(|| wrong(&format!("format {} is none of raw, qcow2, qcow, vmdk", info.format)))?;
        if from_client && let Some(other) = elsewhere(&info, &path) {
            return Err(wrong(&format!(
                "it refers to another file, '{other}': flash an image that is whole by itself"
            )));
        }
        Ok(Self { path, format, size: info.virtual_size })
    }

    /// Makes the disk `wanted` bytes large; smaller would cut what is on it.
    pub(super) async fn grow(&mut self, wanted: u64, log: &DriverLog) -> Result<(), DriverError> {
        let (now, then) = (size::shown(self.size), size::shown(wanted));
        if wanted < self.size {
            let message = format!("the disk cannot be made smaller: it has {now}, wanted are {then}");
            return Err(DriverError::InvalidArgument(message));
        }
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let free = statvfs(dir).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        if wanted > free {
            let free = size::shown(free & !0xf_ffff);
            let message = format!("the exporter has {free} free in {}, a disk of {then} does not fit", dir.display());
            return Err(DriverError::Other(message));
        }
        if wanted == self.size {
            return Ok(());
        }
        log.info(&format!("growing the disk from {now} to {then}"));
        let (path, bytes) = (self.path.display().to_string(), wanted.to_string());
        let args = ["resize", "-f", self.format.as_str(), "--", path.as_str(), bytes.as_str()];
        let told = program::output("qemu-img", &args, RESIZE_LIMIT).await?;
        if !told.status.success() {
            let text = String::from_utf8_lossy(&told.stderr);
            return Err(DriverError::Other(format!("grow the disk to {then}: {}", text.trim())));
        }
        self.size = wanted;
        Ok(())
    }
}

/// Another file that the image would have the emulator open.
fn elsewhere(info: &Info, path: &Path) -> Option<String> {
    if let Some(backing) = &info.backing_filename {
        return Some(backing.clone());
    }
    let data = &info.format_specific["data"];
    if let Some(file) = data["data-file"].as_str() {
        return Some(file.to_owned());
    }
    let mut extents = data["extents"].as_array().into_iter().flatten().filter_map(|extent| extent["filename"].as_str());
    extents.find(|file| Path::new(file) != path).map(str::to_owned)
}
