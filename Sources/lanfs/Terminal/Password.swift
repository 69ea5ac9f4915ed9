import Glibc

/// A password as it was typed, in memory that is wiped when it is no longer needed.
struct Password: ~Copyable {
    static let limit = 1023

    private let storage: UnsafeMutableRawPointer
    private var count = 0

    init() {
        storage = UnsafeMutableRawPointer.allocate(byteCount: Self.limit, alignment: 16)
        // So that it does not reach the swap; where that is not allowed it is typed all the same.
        mlock(storage, Self.limit)
    }

    var isEmpty: Bool { count == 0 }
    /// Few enough bytes for whoever stores the volume to try them all.
    var isShort: Bool { count < 12 }

    /// False when it is full.
    mutating func append(_ byte: UInt8) -> Bool {
        guard count < Self.limit else { return false }
        storage.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count += 1
        return true
    }

    func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: storage, count: count))
    }

    func equals(_ other: borrowing Password) -> Bool {
        count == other.count && memcmp(storage, other.storage, count) == 0
    }

    deinit {
        explicit_bzero(storage, Self.limit)
        munlock(storage, Self.limit)
        storage.deallocate()
    }
}
