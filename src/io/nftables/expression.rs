//! One nf_tables expression as a value, and the libnftnl object made of it.
//!
//! The crate `nftnl` has no types for the expressions `hash`, `queue`, `target`, `objref` and for
//! look-ups in maps. This generic form covers all that we need.
#![expect(
    unsafe_code,
    reason = "libnftnl's expressions are reached through its C functions"
)]

use std::{
    ffi::{CStr, CString, c_void},
    process,
    ptr::NonNull,
};

use nftnl::{Rule, nftnl_sys as sys};

/// An expression: its name, and its attributes (`NFTNL_EXPR_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) name: &'static CStr,
    pub(super) attributes: Vec<(u32, Value)>,
}

/// The value of an attribute; its type must be the one libnftnl documents for the attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Name(&'static str),
    Data(Vec<u8>),
    /// The private data of an xtables target, of which libnftnl takes ownership.
    TargetData([u8; 8]),
}

impl Expression {
    pub(super) fn new<const N: usize>(name: &'static CStr, attributes: [(u32, Value); N]) -> Self {
        Self {
            name,
            attributes: attributes.into(),
        }
    }
}

impl nftnl::expr::Expression for Expression {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        self.object()
    }
}

impl Expression {
    /// A new libnftnl object. The caller owns it.
    pub(super) fn object(&self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a C string; the result is checked.
        let expression = unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) };
        let Some(expression) = NonNull::new(expression) else {
            // No memory for forty octets, or a name that libnftnl does not know.
            process::abort();
        };
        for (attribute, value) in &self.attributes {
            let attribute = u16::try_from(*attribute).expect("libnftnl has few attributes");
            set(expression, attribute, value);
        }
        expression
    }
}

fn set(expression: NonNull<sys::nftnl_expr>, attribute: u16, value: &Value) {
    let expression = expression.as_ptr();
    match value {
        // SAFETY: `expression` is a live object of our own; libnftnl checks the
        // attribute's number against the expression's, and copies what a pointer points to.
        Value::U8(value) => unsafe { sys::nftnl_expr_set_u8(expression, attribute, *value) },
        // SAFETY: as above.
        Value::U16(value) => unsafe { sys::nftnl_expr_set_u16(expression, attribute, *value) },
        // SAFETY: as above.
        Value::U32(value) => unsafe { sys::nftnl_expr_set_u32(expression, attribute, *value) },
        // SAFETY: as above.
        Value::U64(value) => unsafe { sys::nftnl_expr_set_u64(expression, attribute, *value) },
        Value::Name(name) => {
            let name = CString::new(*name).expect("our names contain no zero");
            // SAFETY: as above.
            unsafe { sys::nftnl_expr_set_str(expression, attribute, name.as_ptr()) };
        }
        Value::Data(bytes) => {
            let length = u32::try_from(bytes.len()).expect("a register has 16 octets");
            // SAFETY: as above; the length is the slice's.
            unsafe { sys::nftnl_expr_set(expression, attribute, bytes.as_ptr().cast(), length) };
        }
        Value::TargetData(bytes) => set_target_data(expression, attribute, *bytes),
    }
}

fn set_target_data(expression: *mut sys::nftnl_expr, attribute: u16, bytes: [u8; 8]) {
    // SAFETY: libnftnl frees this pointer with free(), so it comes from malloc(); it is checked
    // before the eight octets are written to it.
    unsafe {
        let data = libc::malloc(bytes.len()).cast::<[u8; 8]>();
        if data.is_null() {
            process::abort();
        }
        data.write(bytes);
        sys::nftnl_expr_set(expression, attribute, data.cast::<c_void>(), 8);
    }
}
