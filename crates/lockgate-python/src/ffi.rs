//! Unsafe calls of CPython's C API that the request path needs beyond PyO3's safe surface. One unsafe operation per
//! block, each with its proof.
#![allow(unsafe_code)]

pub(crate) mod own_memory;

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use lockgate_worker::DetachedWork;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyString, PyTuple, PyType};

use crate::interpreter::deferred_drops;

/// A Python `str` of one code point per byte, which is how PEP 3333 passes bytes.
///
/// ASCII, which nearly every header is, skips the decoder: measured 27 ns beside 38 ns for 37 bytes.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // A slice is never longer than isize::MAX, so the cast keeps its value.
    let length = bytes.len() as ffi::Py_ssize_t;
    // CPython has each string of one character once.
    if bytes.len() < 2 || !bytes.is_ascii() {
        // SAFETY: pointer and length describe `bytes`; no error handler is given (NULL is allowed).
        let string =
            unsafe { ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, ptr::null()) };
        return owned(py, string);
    }
    // SAFETY: attached (`py`); the length is not negative.
    let string: Bound<'py, PyString> = owned(py, unsafe { ffi::PyUnicode_New(length, 127) })?;
    // SAFETY: a string fresh from PyUnicode_New is compact, which is what PyUnicode_DATA wants.
    let data = unsafe { ffi::PyUnicode_DATA(string.as_ptr()) };
    // SAFETY: `data` has `length` bytes, one per code point as 127 was the maximum, and the string is not shared yet.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast::<u8>(), bytes.len()) };
    Ok(string)
}

/// The content of a `str` that is all ASCII; `None` for any other.
pub(crate) fn ascii<'a>(string: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    // In UTF-8, only ASCII has one byte per code point. CPython has both lengths at hand, and the bytes need no scan.
    let bytes = string.to_str().ok()?.as_bytes();
    // SAFETY: attached, and the object is a `str`, which `to_str` has made ready.
    let length = unsafe { ffi::PyUnicode_GET_LENGTH(string.as_ptr()) };
    (length as usize == bytes.len()).then_some(bytes)
}

/// Whether this is for a free-threaded build of Python, in which the header of an object has a lock and a second count
/// (PEP 703).
pub(crate) const IS_FREE_THREADED_BUILD: bool = size_of::<ffi::PyObject>() > 2 * size_of::<usize>();

/// Whether nothing but `references` strong references leads to the object. A weak one is another way to it. On a
/// free-threaded build the answer is no: another thread may change both at the same moment.
pub(crate) fn is_unshared(object: &Bound<'_, PyAny>, references: isize) -> bool {
    if IS_FREE_THREADED_BUILD {
        return false;
    }
    // SAFETY: a bound reference is a live object, and we are attached.
    let count = unsafe { ffi::Py_REFCNT(object.as_ptr()) };
    count == references && !has_weak_references(object)
}

/// `PyObject_GET_WEAKREFS_LISTPTR` is a macro of C.
fn has_weak_references(object: &Bound<'_, PyAny>) -> bool {
    let class = object.get_type_ptr();
    // SAFETY: the class of a live object is alive, and this member never changes.
    let offset = unsafe { (*class).tp_weaklistoffset };
    match offset {
        0 => false,
        1.. => {
            // SAFETY: a positive offset is inside of each object of the class.
            let list = unsafe { object.as_ptr().byte_offset(offset) };
            let list = list.cast::<*mut ffi::PyObject>();
            // SAFETY: there the object has the head of its list, which only attached threads change, one at a time: on
            // a free-threaded build this is not called.
            !unsafe { *list }.is_null()
        }
        // In front of the object, as classes written in Python have it. Where is a matter of CPython's version.
        _ => true,
    }
}

/// A `contextvars` context that is current until it is dropped.
pub(crate) struct ContextScope<'py> {
    context: Bound<'py, PyAny>,
}

impl<'py> ContextScope<'py> {
    /// Enters a copy of `context`, a `contextvars.Context`. The copy shares its tree, so it costs one allocation.
    pub(crate) fn enter_copy(context: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = context.py();
        // SAFETY: attached (`py`); an object that is not a context raises an exception.
        let copy = unsafe { ffi::PyContext_Copy(context.as_ptr()) };
        let context: Bound<'py, PyAny> = owned(py, copy)?;
        // SAFETY: attached, and the object is a context.
        let code = unsafe { ffi::PyContext_Enter(context.as_ptr()) };
        if code < 0 {
            Err(PyErr::fetch(py))
        } else {
            Ok(Self { context })
        }
    }
}

impl Drop for ContextScope<'_> {
    fn drop(&mut self) {
        // SAFETY: attached (the `'py` of the context), and the object is a context.
        let code = unsafe { ffi::PyContext_Exit(self.context.as_ptr()) };
        if code < 0 {
            // The application entered a context by hand and did not leave it. The server does not depend on it.
            drop(PyErr::take(self.context.py()));
        }
    }
}

/// Runs `work` detached, on this thread.
pub(crate) fn detach(py: Python<'_>, work: DetachedWork<'_>) {
    struct Here<'a>(DetachedWork<'a>);
    impl Here<'_> {
        fn run(self) {
            self.0.run();
        }
    }
    // SAFETY: PyO3 wants `Send` so that no attached reference gets into detached code; the work stays on this thread.
    // Only lockgate-worker constructs it, a crate without PyO3: what it has from this crate is `Send` and `'static`,
    // which a token or a bound reference is not.
    unsafe impl Send for Here<'_> {}
    let here = Here(work);
    py.detach(move || here.run());
}

/// A `bytes` object of this length, into which `read` writes in several steps, detached. Shorter if `read` returns 0: the
/// end.
///
/// The memory of a long object is not touched before there is something to write, and not written twice.
pub(crate) fn read_into_bytes<'py, E: Send + Into<PyErr>>(
    py: Python<'py>,
    length: usize,
    read: impl FnMut(&mut [u8]) -> Result<usize, E> + Send,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = ffi::Py_ssize_t::try_from(length).map_err(|_| PyMemoryError::new_err(()))?;
    // SAFETY: attached; NULL asks for an object whose content is not initialized.
    let object = unsafe { ffi::PyBytes_FromStringAndSize(ptr::null(), size) };
    let bytes: Bound<'py, PyBytes> = owned(py, object)?;
    // SAFETY: attached, and the object is `bytes`.
    let content = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) };
    // SAFETY: the content has `length` bytes and lives as long as `bytes`. Nothing else refers to the new object: Python
    // code that runs while this thread is detached cannot find it, because `bytes` are not tracked by the collector.
    let content: &mut [MaybeUninit<u8>] =
        unsafe { slice::from_raw_parts_mut(content.cast(), length) };
    let filled = py.detach(|| fill(content, read)).map_err(Into::into)?;
    if filled == length {
        return Ok(bytes);
    }
    // SAFETY: the first `filled` bytes are initialized.
    let whole = unsafe { slice::from_raw_parts(content.as_ptr().cast(), filled) };
    Ok(PyBytes::new(py, whole))
}

/// Reads until the content is full or `read` returns 0. Returns the number of bytes, which are initialized.
fn fill<E>(
    content: &mut [MaybeUninit<u8>],
    mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<usize, E> {
    /// What was set to zero before a read is still in the processor's cache then.
    const STEP: usize = 128 * 1024;
    let (mut initialized, mut filled) = (0, 0);
    while filled < content.len() {
        if initialized - filled < STEP {
            let end = content.len().min(initialized + STEP);
            content[initialized..end].fill(MaybeUninit::new(0));
            initialized = end;
        }
        let target = &mut content[filled..initialized];
        // SAFETY: these bytes were initialized above.
        let target =
            unsafe { slice::from_raw_parts_mut(target.as_mut_ptr().cast::<u8>(), target.len()) };
        let count = read(target)?.min(target.len());
        if count == 0 {
            break;
        }
        filled += count;
    }
    Ok(filled)
}

/// An exact `bytes` object whose content can be read on any thread, attached or not.
pub(crate) struct PinnedBytes {
    content: &'static [u8],
    object: Option<Py<PyBytes>>,
}

impl PinnedBytes {
    /// Keeps `object` alive; `bytes` are immutable, so the content neither moves nor changes.
    pub(crate) fn new(object: Bound<'_, PyBytes>) -> Self {
        let content = object.as_bytes();
        // SAFETY: the slice lives as long as the object, which `self` owns; it is lent only for `self`'s lifetime.
        let content = unsafe { slice::from_raw_parts(content.as_ptr(), content.len()) };
        Self {
            content,
            object: Some(object.unbind()),
        }
    }

    /// The content.
    pub(crate) fn content(&self) -> &[u8] {
        self.content
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            deferred_drops::defer(object);
        }
    }
}

/// Makes the thread raise this exception class as soon as it runs Python code; `None` cancels an exception that is
/// pending. Returns whether the thread exists.
pub(crate) fn set_async_exception(
    thread: u64,
    exception: Option<&Bound<'_, PyType>>,
    _attached: Python<'_>,
) -> bool {
    let exception = exception.map_or(ptr::null_mut(), |class| class.as_ptr());
    // The number is one that Python gave us: an unsigned long in C, which the binding calls signed.
    let thread = thread as c_long;
    // SAFETY: attached; the exception is NULL or a live class, and CPython takes its own reference.
    let count = unsafe { ffi::PyThreadState_SetAsyncExc(thread, exception) };
    count > 0
}

/// Duplicates a file descriptor.
///
/// # Errors
/// The error of dup(2), for example that the descriptor is not open.
pub(crate) fn duplicate(descriptor: RawFd) -> io::Result<File> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not -1, and borrowed only for the call. The number comes from a Python file object that is alive while we
    // are attached; if another thread closes it in the meantime, dup fails and nothing else depends on it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().map(File::from)
}

/// A C-level method in a static definition.
pub(crate) struct Definition(UnsafeCell<ffi::PyMethodDef>);

// SAFETY: CPython only reads a definition, and so does this module.
unsafe impl Sync for Definition {}

impl Definition {
    /// A builtin that takes positional and keyword arguments without packing them.
    pub(crate) const fn fast(
        name: &'static CStr,
        method: ffi::PyCFunctionFastWithKeywords,
        doc: &'static CStr,
    ) -> Self {
        Self(UnsafeCell::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: method,
            },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        }))
    }

    /// A new builtin function object whose `self` is `receiver`.
    pub(crate) fn bind<'py>(
        &'static self,
        receiver: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCFunction>> {
        // SAFETY: the definition is static; the receiver is alive and is referenced by the new object.
        let function =
            unsafe { ffi::PyCFunction_NewEx(self.0.get(), receiver.as_ptr(), ptr::null_mut()) };
        owned(receiver.py(), function)
    }
}

/// The implementation of a builtin: receiver and arguments in, result out.
pub(crate) type Method<const N: usize> = for<'a, 'py> fn(
    &'a Bound<'py, PyAny>,
    [Option<Borrowed<'a, 'py, PyAny>>; N],
) -> PyResult<Bound<'py, PyAny>>;

/// The arguments of a METH_FASTCALL | METH_KEYWORDS call, as CPython passed them.
#[derive(Clone, Copy)]
pub(crate) struct RawCall {
    pub(crate) receiver: *mut ffi::PyObject,
    pub(crate) values: *const *mut ffi::PyObject,
    pub(crate) positional: ffi::Py_ssize_t,
    pub(crate) names: *mut ffi::PyObject,
}

impl RawCall {
    /// Sorts the arguments by `parameters` and runs `method`; errors and panics become Python exceptions.
    ///
    /// # Safety
    /// The fields are those of a call that CPython is making on this thread.
    pub(crate) unsafe fn run<const N: usize>(
        self,
        parameters: [&str; N],
        method: Method<N>,
    ) -> *mut ffi::PyObject {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            Python::attach(|py| {
                // SAFETY: the caller of the builtin keeps its receiver alive during the call.
                let receiver = unsafe { Bound::from_borrowed_ptr(py, self.receiver) };
                // SAFETY: passed on from this function's own contract.
                let arguments = unsafe { self.arguments(py, parameters) };
                let result = arguments.and_then(|arguments| method(&receiver, arguments));
                match result {
                    Ok(value) => value.into_ptr(),
                    Err(error) => {
                        error.restore(py);
                        ptr::null_mut()
                    }
                }
            })
        }));
        outcome.unwrap_or_else(|_| {
            Python::attach(|py| {
                PyRuntimeError::new_err("a bug in the server; its log has the place").restore(py)
            });
            ptr::null_mut()
        })
    }

    /// # Safety
    /// As [`RawCall::run`]; the arguments live for `'a`, the duration of the call.
    unsafe fn arguments<'a, 'py, const N: usize>(
        self,
        py: Python<'py>,
        parameters: [&str; N],
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        let mut sorted = [const { None }; N];
        let positional = usize::try_from(self.positional).unwrap_or(0);
        if positional > N {
            return Err(PyTypeError::new_err(format!(
                "takes at most {N} arguments ({positional} given)"
            )));
        }
        for (index, place) in sorted.iter_mut().enumerate().take(positional) {
            // SAFETY: `index` is below the number of positional values that CPython passed.
            *place = Some(unsafe { self.value(py, index) });
        }
        if self.names.is_null() {
            return Ok(sorted);
        }
        // SAFETY: not null, so it is the tuple of keyword names, alive during the call.
        let names = unsafe { Bound::from_borrowed_ptr(py, self.names) };
        for (index, name) in names.cast::<PyTuple>()?.iter().enumerate() {
            let name = name.cast_into::<PyString>()?;
            let parameter = parameters.iter().position(|parameter| name == *parameter);
            let Some(place) = parameter.map(|parameter| &mut sorted[parameter]) else {
                return Err(PyTypeError::new_err(format!(
                    "got an unexpected keyword argument {}",
                    name.repr()?
                )));
            };
            if place.is_some() {
                return Err(PyTypeError::new_err(format!(
                    "got two values for argument {}",
                    name.repr()?
                )));
            }
            // SAFETY: one value follows the positional ones for each keyword name.
            *place = Some(unsafe { self.value(py, positional + index) });
        }
        Ok(sorted)
    }

    /// # Safety
    /// As [`RawCall::run`], and `index` is below the number of values.
    unsafe fn value<'a, 'py>(self, py: Python<'py>, index: usize) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: within the array, by contract.
        let place = unsafe { self.values.add(index) };
        // SAFETY: the place holds a reference that the caller of the builtin keeps alive.
        let value = unsafe { place.read() };
        // SAFETY: a live object, and we are attached.
        unsafe { Borrowed::from_ptr(py, value) }
    }
}

/// Declares the C function behind a builtin: `trampoline!(name, ["parameter", …], method)`.
macro_rules! trampoline {
    ($name:ident, [$($parameter:literal),*], $method:path) => {
        /// C entry of a builtin.
        ///
        /// # Safety
        /// Called by CPython only.
        #[allow(unsafe_code)]
        unsafe extern "C" fn $name(
            receiver: *mut pyo3::ffi::PyObject,
            values: *const *mut pyo3::ffi::PyObject,
            positional: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            let call = $crate::ffi::RawCall { receiver, values, positional, names };
            // SAFETY: these are the arguments that CPython passed, as METH_FASTCALL | METH_KEYWORDS describes them.
            unsafe { call.run([$($parameter),*], $method) }
        }
    };
}
pub(crate) use trampoline;

/// Forks twice with Python's at-fork hooks around both: they run in the caller and in the new process, once. In the
/// process between them `report` gets the id of the new one, or why there is none, and it ends; Python may not be used
/// there. Returns 0 in the new process, and in the caller the id of the one between.
///
/// # Errors
/// When the first fork fails.
pub(crate) fn fork_twice(
    _py: Python<'_>,
    report: &mut dyn FnMut(io::Result<u32>),
) -> io::Result<u32> {
    // SAFETY: attached (`_py`), as os.fork() is when it calls this.
    unsafe { ffi::PyOS_BeforeFork() };
    let intermediate = fork();
    if let Ok(0) = intermediate {
        match fork() {
            Ok(0) => {
                // SAFETY: this is the child of the fork that PyOS_BeforeFork has prepared: only this thread exists, and
                // it is attached.
                unsafe { ffi::PyOS_AfterFork_Child() };
                return Ok(0);
            }
            outcome => report(outcome),
        }
        // SAFETY: the process ends at once: no exit functions, no buffers that are written a second time.
        unsafe { libc::_exit(0) }
    }
    // SAFETY: attached, in the process that has called PyOS_BeforeFork, also if the fork has failed.
    unsafe { ffi::PyOS_AfterFork_Parent() };
    intermediate
}

/// fork(2): 0 in the child, in the parent the id of the child.
fn fork() -> io::Result<u32> {
    // SAFETY: both callers continue in the child with the forking thread alone, and restore Python's state in it or end
    // it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid.unsigned_abs()),
    }
}

fn owned<'py, T: pyo3::PyTypeCheck>(
    py: Python<'py>,
    object: *mut ffi::PyObject,
) -> PyResult<Bound<'py, T>> {
    // SAFETY: every caller passes a new reference, or NULL with the error set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }?;
    Ok(object.cast_into::<T>()?)
}

const _: () = assert!(size_of::<c_int>() <= size_of::<RawFd>());
