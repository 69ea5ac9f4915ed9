import LanfsProtocol
import LanfsStore
import NIOCore
import Synchronization

/// One volume on this server: its blocks and its keeper.
final class ServedVolume: Sendable {
    /// Blocks of one answer to `list`.
    static let listLimit = 1000
    /// Longer ranges are copied by the workers while the event loop sends.
    private static let readAtOnceLimit = 128 * 1024

    let id: VolumeID
    let blocks: BlockStore
    let register: RegisterLane
    let failures: DiskFailures
    let members: VolumeMembers
    private let longWrites = SerialWork()
    private let stream = Mutex(WriteStream())
    private let allocator = ByteBufferAllocator()
    /// Longer blocks are written in turn.
    static let shortWrite = 64 << 10

    init(_ id: VolumeID, blocks: BlockStore, register: RegisterLane, members: VolumeMembers, failures: DiskFailures) {
        self.id = id
        self.blocks = blocks
        self.register = register
        self.members = members
        self.failures = failures
    }

    /// A range of a block, read from the file straight into the buffer that is sent; `length` 0 means all from
    /// `offset` on. Not by `sendfile`, although a lone read from the page cache is a third quicker that way: bytes that
    /// are not there yet would stop the event loop until the disk has found them.
    func read(_ block: BlockID, offset: Int, length: Int, once: Bool) throws(StoreError) -> ByteBuffer {
        var length = length
        if length == 0 {
            guard let location = try blocks.locate(block) else { throw .notFound(block) }
            guard offset <= location.length else {
                throw .outOfRange(block, offset: offset, length: 0, blockLength: location.length)
            }
            length = location.length - offset
        }
        guard length <= Limits.blockSize else { throw .tooLong(length: length, limit: Limits.blockSize) }
        var buffer = allocator.buffer(capacity: length)
        var failure: StoreError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { memory in
            do throws(StoreError) {
                try blocks.read(
                    block, offset: offset, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<length]), once: once)
                return length
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        return buffer
    }

    /// As `read`, on the event loop, for a short range that is in the page cache: handing it to a worker and the answer
    /// back takes longer than copying it. `nil`: a worker has to see.
    func readAtOnce(_ block: BlockID, offset: Int, length: Int) -> ByteBuffer? {
        guard length > 0, length <= Self.readAtOnceLimit else { return nil }
        var buffer = allocator.buffer(capacity: length)
        let count = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { memory in
            let range = UnsafeMutableRawBufferPointer(rebasing: memory[..<length])
            return blocks.readAtOnce(block, offset: offset, into: range) ? length : 0
        }
        return count == 0 ? nil : buffer
    }

    /// Stores a short block, or says why not. Blocks the thread.
    func store(
        _ block: BlockID, _ bytes: UnsafeRawBufferPointer, gcEpoch: UInt64
    ) -> Result<BlockStore.PutOutcome, Refusal> {
        if let refusal = refuse(bytes, as: block) { return .failure(refusal) }
        return write(block, bytes, gcEpoch: gcEpoch, once: false)
    }

    /// As `store`, for a block of any length: many long ones at once keep one worker busy with writing and leave the
    /// others for hashes and reads. `stored` runs on a worker, this one or another.
    func store(
        _ block: BlockID, _ payload: ByteBuffer, gcEpoch: UInt64,
        stored: @escaping @Sendable (Refusal?) -> Void
    ) {
        if let refusal = payload.withUnsafeReadableBytes({ refuse($0, as: block) }) { return stored(refusal) }
        let isLong = payload.readableBytes > Self.shortWrite
        let put: @Sendable () -> Void = { [self] in
            let once = isLong && stream.withLock { $0.isPassing(payload.readableBytes, .now) }
            switch payload.withUnsafeReadableBytes({ write(block, $0, gcEpoch: gcEpoch, once: once) }) {
            case .success: stored(nil)
            case .failure(let refusal): stored(refusal)
            }
        }
        if isLong { longWrites.run(put) } else { put() }
    }

    private func write(
        _ block: BlockID, _ bytes: UnsafeRawBufferPointer, gcEpoch: UInt64, once: Bool
    ) -> Result<BlockStore.PutOutcome, Refusal> {
        do throws(StoreError) {
            return .success(try blocks.put(block, bytes, gcEpoch: gcEpoch, from: .client, once: once))
        } catch {
            failures.report(error, "storing a block")
            return .failure(Refusal(error))
        }
    }

    /// B1: nothing is stored under a name that does not prove it.
    private func refuse(_ bytes: UnsafeRawBufferPointer, as block: BlockID) -> Refusal? {
        if members.context.isWitness { return Refusal(.full, "this server is a witness: it keeps no blocks") }
        return blockHash(bytes) == block
            ? nil : Refusal(.wrongHash, "the bytes sent as block \(block) are not that block")
    }

    /// What is about blocks as a whole. Blocks the thread.
    func answer(_ request: Request) -> Response {
        do throws(StoreError) {
            switch request {
            case .touch(let ids, let gcEpoch): return .missing(try blocks.touch(ids, gcEpoch: gcEpoch))
            case .free(let ids, let gcEpoch):
                try blocks.free(ids, gcEpoch: gcEpoch)
                members.removed(ids, cutoff: gcEpoch)
                return .done
            case .sweep(let ids, let gcEpoch, let cutoff):
                try blocks.sweep(ids, gcEpoch: gcEpoch, cutoff: cutoff)
                members.removed(ids, cutoff: cutoff)
                return .done
            case .list(let after): return .listed(blocks.list(after: after, limit: Self.listLimit))
            case .open, .put, .pass, .get, .flush, .register, .commit, .status, .introduce, .member, .ask:
                return .refused(Refusal(.invalid, "not a request about blocks as a whole"))
            }
        } catch {
            failures.report(error, "changing the state of blocks")
            return .refused(Refusal(error))
        }
    }

    /// Answers who waits for news of the register, and leaves the other members.
    func endWaiting() {
        register.close()
        members.stop()
    }

    /// Tidies, then reads and checks this fraction of the volume, going on where the last call ended. What is bad is asked
    /// for at the other members; returns it. Blocks.
    func maintain(scrubbing fraction: Double) throws(StoreError) -> [BlockID] {
        var rotten = try blocks.maintain().rotten
        try register.settle()
        // At least one block a call, so that a small volume is checked as well.
        let budget = UInt64(Double(blocks.status().usedBytes) * fraction) + 1
        rotten += try blocks.scrubOn(budget: budget).rotten
        members.lost(rotten)
        members.saveSwept()
        return rotten
    }
}
