import LanfsProtocol

/// The first byte of every record. A program that meets a newer one refuses instead of guessing.
enum RecordVersion {
    static let current: UInt8 = 1
}

extension ByteReader {
    mutating func version(of what: String) throws(DecodingError) {
        guard try integer(UInt8.self) == RecordVersion.current else { throw .invalid(what: "the version of \(what)") }
    }

    mutating func timestamp() throws(DecodingError) -> Timestamp {
        Timestamp(seconds: try integer(), nanoseconds: try integer())
    }

    mutating func inodeType() throws(DecodingError) -> InodeType {
        guard let type = InodeType(rawValue: try integer()) else { throw .invalid(what: "an inode's type") }
        return type
    }
}

extension ByteWriter {
    mutating func append(_ time: Timestamp) {
        append(time.seconds)
        append(time.nanoseconds)
    }
}
