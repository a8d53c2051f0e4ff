//! Manifests in files and folders, named as for kubectl.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Which manifests to read.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArgs {
    /// Files with YAML or JSON, folders of them, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., required = true)]
    pub files: Vec<PathBuf>,

    /// Look into the folders of folders, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

impl FileArgs {
    /// The texts that were named, in order.
    pub fn sources(&self) -> Vec<Source> {
        Source::all(&self.files, self.recursive)
    }
}

/// The name that stands for standard input.
const STDIN: &str = "-";
/// What kubectl takes from a folder.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];
/// Deepest folders below one that was named. Links to folders are not followed, so there is no circle to be caught in.
const FOLDERS_MAX: usize = 64;

/// A text that was named.
#[derive(Debug)]
pub struct Source {
    /// The name in messages.
    pub name: String,
    input: Input,
}

#[derive(Debug)]
enum Input {
    Stdin,
    File(PathBuf),
    /// It was named, or lies in a folder that was, and cannot be looked at.
    Lost(Unreadable),
}

/// Why a text cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unreadable {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Io(String),
    /// It is not text.
    #[error("not UTF-8: byte {0} begins no character")]
    Utf8(usize),
    /// No manifest is in it.
    #[error("a folder without files that end in .yaml, .yml or .json")]
    Empty,
    /// It goes on and on.
    #[error("nested deeper than {FOLDERS_MAX} folders")]
    Depth,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl Source {
    /// The texts that these names stand for, in order; in folders by name. With `recursive` in folders of folders, too.
    pub fn all(names: &[PathBuf], recursive: bool) -> Vec<Self> {
        let mut sources = Vec::new();
        for name in names {
            if name.as_os_str() == STDIN {
                sources.push(Self { name: "<stdin>".to_owned(), input: Input::Stdin });
            } else if name.is_dir() {
                let before = sources.len();
                if let Err(error) = folder(name, recursive, 0, &mut sources) {
                    sources.push(Self::lost(name, error));
                } else if sources.len() == before {
                    sources.push(Self::lost(name, Unreadable::Empty));
                }
            } else {
                sources.push(Self::file(name.clone()));
            }
        }
        sources
    }

    fn file(path: PathBuf) -> Self {
        Self { name: path.display().to_string(), input: Input::File(path) }
    }

    fn lost(path: &Path, error: Unreadable) -> Self {
        Self { name: path.display().to_string(), input: Input::Lost(error) }
    }

    /// The text. Of one that is longer than `bytes_max` a byte or so more is there, so that this can be told.
    ///
    /// # Errors
    /// When it cannot be read, or is no text.
    pub fn read(&self, bytes_max: usize) -> Result<String, Unreadable> {
        let bytes = match &self.input {
            Input::Stdin => bounded(io::stdin().lock(), bytes_max)?,
            Input::File(path) => bounded(fs::File::open(path)?, bytes_max)?,
            Input::Lost(error) => return Err(error.clone()),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            // The bound may have cut the last character.
            Err(error) if error.as_bytes().len() > bytes_max => {
                Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
            Err(error) => Err(Unreadable::Utf8(error.utf8_error().valid_up_to())),
        }
    }
}

fn bounded(input: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    input.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds the manifests of a folder.
fn folder(path: &Path, recursive: bool, depth: usize, sources: &mut Vec<Source>) -> Result<(), Unreadable> {
    if depth > FOLDERS_MAX {
        return Err(Unreadable::Depth);
    }
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if recursive && let Err(error) = folder(&path, recursive, depth + 1, sources) {
                sources.push(Source::lost(&path, error));
            }
        } else if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|each| extension == *each)) {
            sources.push(Source::file(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1000;

    fn names(path: &Path, recursive: bool) -> Vec<String> {
        let sources = Source::all(&[path.to_owned()], recursive);
        sources.iter().map(|source| source.name.replace(&format!("{}/", path.display()), "")).collect()
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let latin = folder.path().join("latin.yaml");
        fs::write(&latin, b"a: \xe4\n").unwrap();
        let told = |path: &Path| {
            let sources = Source::all(&[path.to_owned()], false);
            sources[0].read(BYTES_MAX).unwrap_err().to_string()
        };
        assert_eq!(told(&latin), "not UTF-8: byte 3 begins no character");
        assert!(told(&folder.path().join("missing")).starts_with("cannot be read: No such file"));
        fs::remove_file(latin).unwrap();
        assert_eq!(told(folder.path()), "a folder without files that end in .yaml, .yml or .json");
    }

    #[test]
    fn a_file_longer_than_its_reader_takes_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.yaml");
        fs::write(&path, "ä".repeat(BYTES_MAX)).unwrap();
        let text = Source::file(path).read(BYTES_MAX).unwrap();
        assert!(text.len() > BYTES_MAX && text.len() < BYTES_MAX + 8);
    }

    #[test]
    fn a_folder_stands_for_the_manifests_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "d.txt", "inner/e.yaml"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(names(folder.path(), false), ["a.yml", "b.yaml", "c.json"]);
        assert_eq!(names(folder.path(), true), ["a.yml", "b.yaml", "c.json", "inner/e.yaml"]);
    }
}
