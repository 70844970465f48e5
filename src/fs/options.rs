//! How a file is to be opened.

use std::path::Path;

use anyloop_api::Result;

use super::File;

/// How a file is to be opened: `std::fs::OpenOptions`, with an [`open`](OpenOptions::open) that is
/// awaited.
///
/// ```
/// use anyloop::fs::OpenOptions;
/// # let path = std::env::temp_dir().join(format!("anyloop-options-doc-{}", std::process::id()));
/// anyloop::run(async move {
///     let log = OpenOptions::new().append(true).create(true).open(&path).await?;
///     log.write_all("started\n").await?;
///     anyloop::fs::remove_file(&path).await
/// })??;
/// # Ok::<(), anyloop::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! option {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, on: bool) -> Self {
            self.0.$name(on);
            self
        })+
    };
}

impl OpenOptions {
    /// Nothing is allowed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(std::fs::OpenOptions::new())
    }

    option! {
        /// For reading.
        read;
        /// For writing, from the beginning.
        write;
        /// For writing, always at the end as it is at that moment.
        append;
        /// Throws the contents away.
        truncate;
        /// Makes the file if it is missing.
        create;
        /// Makes the file, and fails if it is there.
        create_new;
    }

    /// Opens the file.
    ///
    /// # Errors
    /// `Os`, naming the path; kind `InvalidInput` if the options contradict each other.
    ///
    /// # Cancel safety
    /// As [`fs::write`](super::write()): it may have made or emptied the file. Nothing is left open.
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        let options = self.0.clone();
        let open = move |path: &Path| {
            let file = options.open(path)?;
            let regular = file.metadata()?.is_file();
            Ok((file, regular))
        };
        let (file, regular) = super::call("open", path.as_ref(), open).await?;
        Ok(File::new(file, path.as_ref(), regular))
    }
}

/// With whatever else the platform lets one set, such as a mode for a new file.
impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> Self {
        Self(options)
    }
}
