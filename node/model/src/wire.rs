//! Attribute values as they come in a request body: parsed into stored form, with a semantic error kept for later.
