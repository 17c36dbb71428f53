//! A `ct helper` object as libnftnl makes it; the nftnl crate has no named objects.
#![expect(
    unsafe_code,
    reason = "libnftnl's objects are reached through its C functions"
)]

use std::{
    ffi::{CString, c_char, c_void},
    process,
    ptr::NonNull,
};

use nftnl::{MsgType, NlMsg, nftnl_sys as sys};

use super::{family, lower::NFT_OBJECT_CT_HELPER};
use crate::proto::net::Layer;

/// `nf_tables.h`: requests that the libc crate does not have.
const NFT_MSG_NEWOBJ: u16 = 18;
const NFT_MSG_DELOBJ: u16 = 20;

/// A `ct helper` object in a table.
pub(super) struct Helper {
    object: NonNull<sys::nftnl_obj>,
    layer: Layer,
}

impl Helper {
    /// The object `name` of the table of this layer, for the helper that is registered under
    /// `kind`, for both IP versions.
    pub(super) fn of(layer: Layer, name: &str, kind: &str, table: &str) -> Self {
        // SAFETY: no preconditions; the result is checked.
        let object = unsafe { sys::nftnl_obj_alloc() };
        let Some(object) = NonNull::new(object) else {
            // No memory for a hundred octets.
            process::abort();
        };
        let text = |attribute: u32, value: &str| {
            let value = CString::new(value).expect("our names contain no zero");
            // SAFETY: the object is live, the attribute a string, which libnftnl copies.
            unsafe { sys::nftnl_obj_set_str(object.as_ptr(), attribute as u16, value.as_ptr()) };
        };
        // SAFETY: the object is live, and the attribute is a 32-bit one. The type comes first: it
        // decides what the other attributes are.
        unsafe {
            let attribute = sys::NFTNL_OBJ_TYPE as u16;
            sys::nftnl_obj_set_u32(object.as_ptr(), attribute, NFT_OBJECT_CT_HELPER);
        }
        text(sys::NFTNL_OBJ_TABLE, table);
        text(sys::NFTNL_OBJ_NAME, name);
        text(sys::NFTNL_OBJ_CT_HELPER_NAME, kind);
        // SAFETY: the object is live; the attributes are 16 and 8 bits wide.
        unsafe {
            let (protocol_family, protocol) = (
                sys::NFTNL_OBJ_CT_HELPER_L3PROTO as u16,
                sys::NFTNL_OBJ_CT_HELPER_L4PROTO as u16,
            );
            sys::nftnl_obj_set_u16(object.as_ptr(), protocol_family, family(layer).into());
            sys::nftnl_obj_set_u8(object.as_ptr(), protocol, libc::IPPROTO_TCP as u8);
        }
        Self { object, layer }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // SAFETY: the object is ours alone, and is not used again.
        unsafe { sys::nftnl_obj_free(self.object.as_ptr()) };
    }
}

// SAFETY: a header and a few attributes are far below the largest message.
unsafe impl NlMsg for Helper {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
        let (request, flags) = match kind {
            MsgType::Add => (NFT_MSG_NEWOBJ, libc::NLM_F_ACK | libc::NLM_F_CREATE),
            MsgType::Del => (NFT_MSG_DELOBJ, libc::NLM_F_ACK),
        };
        // SAFETY: the caller owns the buffer, and the object is live.
        unsafe {
            let header = sys::nftnl_nlmsg_build_hdr(
                buffer.cast::<c_char>(),
                request,
                family(self.layer).into(),
                flags as u16,
                sequence,
            );
            sys::nftnl_obj_nlmsg_build_payload(header, self.object.as_ptr());
        }
    }
}
