//! Key files: private to their owner, written whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// No key or key list of ours comes near this size; larger files are not ours.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Why a key could not be loaded or created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file exists and could not be read.
    #[error("cannot read the key file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file did not exist and could not be created.
    #[error("cannot create the key file {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's content is not a key of the expected kind.
    #[error(
        "the key file {path} is not usable: {reason}; restore it from a backup, or remove it to have a new key made (tokens signed with the old one then stop working)"
    )]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the content.
        reason: String,
    },
    /// Key material that did not come from a file is not usable.
    #[error("the key is not usable: {0}")]
    Invalid(String),
    /// An empty key would let anybody sign.
    #[error("the key is empty: anybody could sign with it; set it to at least 32 random characters")]
    Empty,
    /// The system's random generator failed.
    #[error("the system gave no randomness for a new key")]
    NoRandomness,
}

impl KeyError {
    /// Names the file that the unusable material came from.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Invalid(reason) => Self::InvalidFile { path: path.to_owned(), reason },
            Self::Empty => Self::InvalidFile { path: path.to_owned(), reason: "it is empty".to_owned() },
            named => named,
        }
    }
}

/// Reads the file, or creates it with what `make` returns. Of several processes that race to create it, all get the
/// content of the winner.
pub(crate) fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, KeyError>,
) -> Result<Vec<u8>, KeyError> {
    if let Some(content) = read(path)? {
        return Ok(content);
    }
    let content = make()?;
    match create(path, &content) {
        Ok(()) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| KeyError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() })
        }
        Err(source) => Err(KeyError::Write { path: path.to_owned(), source }),
    }
}

/// The file's content; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    make_private(path, &file).map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_KEY_FILE {
        let reason = format!("it is larger than {MAX_KEY_FILE} bytes");
        return Err(KeyError::InvalidFile { path: path.to_owned(), reason });
    }
    Ok(Some(content))
}

/// Takes the key away from group and others. Mounted secrets cannot be changed: there a warning has to do.
fn make_private(path: &Path, file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode();
    let for_others = mode & 0o077;
    if for_others == 0 {
        return Ok(());
    }
    let mode = format!("{:03o}", mode & 0o777);
    match file.set_permissions(Permissions::from_mode(0o600)) {
        Ok(()) => tracing::warn!(path = %path.display(), %mode, "key file was open to other users; made it 0600"),
        Err(error) => tracing::warn!(path = %path.display(), %mode, %error, "key file is open to other users"),
    }
    Ok(())
}

/// Writes a new file under another name and links it into place, which fails if the name is taken.
fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let temporary = directory.join(temporary);

    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path)
    })();
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_private_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.key");
        assert_eq!(load_or_create(&path, || Ok(b"first".to_vec())).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(load_or_create(&path, || panic!("must not be made again")).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_open_to_others_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.key");
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_create(&path, || panic!("exists")).unwrap(), b"content");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn racing_creators_agree() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.key");
        let contents: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|n| {
                    let path = &path;
                    scope.spawn(move || load_or_create(path, || Ok(vec![n; 100])).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{contents:?}");
        assert_eq!(fs::read(&path).unwrap(), contents[0]);
    }

    #[test]
    fn trouble_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/dir/some.key");
        let error = load_or_create(&missing, || Ok(vec![1])).unwrap_err();
        assert!(matches!(&error, KeyError::Write { .. }) && error.to_string().contains("some.key"), "{error}");

        let error = load_or_create(directory.path(), || Ok(vec![1])).unwrap_err();
        assert!(matches!(error, KeyError::Read { .. }), "{error}");

        let large = directory.path().join("large");
        fs::write(&large, vec![0; 70_000]).unwrap();
        let error = load_or_create(&large, || Ok(vec![1])).unwrap_err();
        assert!(matches!(error, KeyError::InvalidFile { .. }), "{error}");
    }
}
