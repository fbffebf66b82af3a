//! Request bodies: JSON text to typed requests, with DynamoDB's `SerializationException` texts.
