//! `wsgi.file_wrapper`: a file as a response body, and whether sendfile(2) can send it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use rustix::fs::FileType;

use crate::ffi;

/// Iterates over blocks of a file-like object; the server may use sendfile(2) instead.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct FileWrapper {
    filelike: Py<PyAny>,
    block_size: isize,
}

/// The part of an open file that is still to be sent.
pub(crate) struct Region {
    /// A duplicated descriptor.
    pub(crate) file: File,
    /// First byte.
    pub(crate) offset: u64,
    /// Bytes from there to the end of the file.
    pub(crate) length: u64,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size=8192))]
    fn new(filelike: Py<PyAny>, block_size: isize) -> PyResult<Self> {
        if block_size == 0 {
            return Err(PyValueError::new_err("block_size must not be 0"));
        }
        Ok(Self {
            filelike,
            block_size,
        })
    }

    #[getter]
    fn filelike(&self, py: Python<'_>) -> Py<PyAny> {
        self.filelike.clone_ref(py)
    }

    #[getter]
    fn block_size(&self) -> isize {
        self.block_size
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self
            .filelike
            .bind(py)
            .call_method1(pyo3::intern!(py, "read"), (self.block_size,))?;
        Ok(if block.is_truthy()? {
            Some(block)
        } else {
            None
        })
    }

    /// Closes the file-like object, if it has `close`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self
            .filelike
            .bind(py)
            .getattr_opt(pyo3::intern!(py, "close"))?
        {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The region that sendfile(2) can send: the rest of a regular file whose size is reliable.
    pub(crate) fn region(&self, py: Python<'_>) -> Option<Region> {
        // If these calls raise an exception, reading blocks still works.
        self.try_region(py).ok().flatten()
    }

    fn try_region(&self, py: Python<'_>) -> PyResult<Option<Region>> {
        let filelike = self.filelike.bind(py);
        if !is_plain_file(filelike)? {
            return Ok(None);
        }
        let descriptor: i32 = filelike
            .call_method0(pyo3::intern!(py, "fileno"))?
            .extract()?;
        let offset: u64 = filelike
            .call_method0(pyo3::intern!(py, "tell"))?
            .extract()?;
        let file = ffi::duplicate(descriptor)?;
        let status = rustix::fs::fstat(&file).map_err(std::io::Error::from)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let size = u64::try_from(status.st_size).unwrap_or(0);
        // A file with a size but without blocks may be sparse, or in sysfs, where the size is that of a page.
        if size == 0 || (status.st_blocks == 0 && !ends_at(&file, size)) {
            return Ok(None);
        }
        Ok(Some(Region {
            file,
            offset,
            length: size.saturating_sub(offset),
        }))
    }
}

/// Whether the file has a byte before `size` and none after it.
fn ends_at(file: &File, size: u64) -> bool {
    matches!(file.read_at(&mut [0; 2], size - 1), Ok(1))
}

/// Whether `read` returns the descriptor's bytes: `gzip.GzipFile` has a `fileno` too, that of the compressed file.
fn is_plain_file(filelike: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = filelike.py();
    let types = FileTypes::get(py)?;
    let kind = filelike.get_type();
    if kind.is(&types.raw) {
        return Ok(true);
    }
    if kind.is(&types.reader) || kind.is(&types.random) {
        return Ok(filelike
            .getattr(pyo3::intern!(py, "raw"))?
            .get_type()
            .is(&types.raw));
    }
    if kind.is(&types.temporary) {
        return is_plain_file(&filelike.getattr(pyo3::intern!(py, "file"))?);
    }
    Ok(false)
}

struct FileTypes {
    raw: Py<PyType>,
    reader: Py<PyType>,
    random: Py<PyType>,
    /// The class of `tempfile.NamedTemporaryFile`, which delegates to its `file`.
    temporary: Py<PyAny>,
}

impl FileTypes {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static TYPES: PyOnceLock<FileTypes> = PyOnceLock::new();
        TYPES.get_or_try_init(py, || {
            let io = py.import("io")?;
            let class = |name: &str| -> PyResult<Py<PyType>> {
                Ok(io.getattr(name)?.cast_into::<PyType>()?.unbind())
            };
            Ok(Self {
                raw: class("FileIO")?,
                reader: class("BufferedReader")?,
                random: class("BufferedRandom")?,
                temporary: py
                    .import("tempfile")?
                    .getattr("_TemporaryFileWrapper")?
                    .unbind(),
            })
        })
    }
}
