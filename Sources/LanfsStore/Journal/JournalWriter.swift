import Glibc
import LanfsProtocol
import SystemPackage

/// Appends records to both journals at once; used by one thread at a time.
struct JournalWriter {
    private let journals: (JournalFolder, JournalFolder)
    private let volume: VolumeID
    private let hash: BlockHash
    private var generation: UInt64
    private var sequence: UInt64
    private var slot = 0
    private let buffer: AlignedBuffer
    private let helper: JournalHelper

    init(
        _ journals: (JournalFolder, JournalFolder), generation: UInt64, sequence: UInt64, volume: VolumeID,
        hash: @escaping BlockHash
    ) throws(StoreError) {
        self.journals = journals
        self.generation = generation
        self.sequence = sequence
        self.volume = volume
        self.hash = hash
        buffer = AlignedBuffer(KeeperJournal.payloadLimit / JournalSlot.payloadSize * JournalSlot.size)
        helper = try JournalHelper(path: journals.1.path)
    }

    mutating func write(_ payload: [UInt8]) throws(StoreError) {
        var record = JournalReading.Record(generation: generation, sequence: sequence, payload: payload)
        let parts = record.parts
        if slot + parts > JournalFolder.slots {
            generation &+= 1
            slot = 0
            record.generation = generation
        }
        record.encode(into: buffer.bytes, volume: volume, hash: hash)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<(parts * JournalSlot.size)])
        let offset = UInt64(slot * JournalSlot.size)

        // One disk each, or one disk whose flushes the kernel merges: either way both take the time of one.
        helper.start(journals.1.file(generation), bytes, at: offset)
        var failure: StoreError?
        do throws(StoreError) {
            try journals.0.file(generation).write(bytes, at: offset)
        } catch {
            failure = error
        }
        // The helper reads our buffer: wait for it whatever happened here.
        let otherFailure = helper.finish()
        if let failure = failure ?? otherFailure { throw failure }
        slot += parts
        sequence &+= 1
    }
}

/// Memory that starts on a page, as writes past the page cache require.
private final class AlignedBuffer {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ count: Int) {
        bytes = .allocate(byteCount: count, alignment: JournalSlot.size)
    }

    deinit { bytes.deallocate() }
}

/// The thread that writes the second journal while the caller's thread writes the first.
private final class JournalHelper {
    private enum Work {
        case idle
        case write(OpenFile, UnsafeRawBufferPointer, UInt64)
        case done(StoreError?)
        case stop
    }

    private let work: Monitor<Work>

    init(path: FilePath) throws(StoreError) {
        let work = Monitor(Work.idle)
        self.work = work
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(work)
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                JournalHelper.run(Unmanaged<Monitor<Work>>.fromOpaque(argument).takeRetainedValue())
                return nil
            }, argument.toOpaque())
        guard result == 0 else {
            argument.release()
            throw .system(action: "start a thread for", path: path, errno: Errno(rawValue: result))
        }
        pthread_detach(thread)
    }

    deinit { work.update { $0 = .stop } }

    func start(_ file: OpenFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        work.update { $0 = .write(file, bytes, offset) }
    }

    func finish() -> StoreError? {
        work.await { work -> StoreError?? in
            guard case .done(let failure) = work else { return nil }
            work = .idle
            return .some(failure)
        }
    }

    private static func run(_ work: Monitor<Work>) {
        while true {
            let next = work.await { work -> (OpenFile, UnsafeRawBufferPointer, UInt64)?? in
                switch work {
                case .write(let file, let bytes, let offset): .some((file, bytes, offset))
                case .stop: .some(nil)
                case .idle, .done: nil
                }
            }
            guard let (file, bytes, offset) = next else { return }
            var failure: StoreError?
            do throws(StoreError) {
                try file.write(bytes, at: offset)
            } catch {
                failure = error
            }
            work.update { $0 = .done(failure) }
        }
    }
}
