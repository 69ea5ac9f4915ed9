import CLinux
import Glibc
import SystemPackage

/// Writes the same bytes to two files, which the disk works on at the same time, from one thread: Linux' io_submit(2),
/// asynchronous for files opened with `O_DIRECT`, one after the other for others. A second thread would do as well, but waking it and being woken by it
/// takes as long as a write does. Used by one thread at a time.
final class PairedWriter {
    /// `nil`: the kernel had no room for one (fs.aio-max-nr); the writes then follow one another.
    private let context: aio_context_t?

    init() {
        var context: aio_context_t = 0
        self.context = lanfs_io_setup(2, &context) == 0 ? context : nil
    }

    deinit {
        if let context { _ = lanfs_io_destroy(context) }
    }

    /// Returns when both writes have ended, whatever came of them; `meanwhile` has run then.
    ///
    /// - Parameter sharesFlush: both are made durable by one flush of the disk, which comes after them.
    /// - Throws: why the first, or else the second, failed.
    func write(
        _ bytes: UnsafeRawBufferPointer, to files: (OpenFile, OpenFile), at offset: UInt64, sharesFlush: Bool,
        meanwhile: () -> Void
    ) throws(StoreError) {
        let done = submit(bytes, to: files, at: offset, meanwhile)
        let first = Self.finish(files.0, bytes, at: offset, done: done.0)
        let second = Self.finish(files.1, bytes, at: offset, done: done.1)
        try first.get()
        try second.get()
        if sharesFlush { try files.0.syncData() }
    }

    /// What became of each write: bytes, a negative error number, or nothing when it was not begun.
    private func submit(
        _ bytes: UnsafeRawBufferPointer, to files: (OpenFile, OpenFile), at offset: UInt64, _ meanwhile: () -> Void
    ) -> (Int64?, Int64?) {
        guard let context else {
            meanwhile()
            return (nil, nil)
        }
        var first = iocb()
        var second = iocb()
        Self.describe(&first, bytes, files.0, offset)
        Self.describe(&second, bytes, files.1, offset)
        second.aio_data = 1
        var results: (Int64?, Int64?) = (nil, nil)
        withUnsafeMutablePointer(to: &first) { first in
            withUnsafeMutablePointer(to: &second) { second in
                var blocks: (UnsafeMutablePointer<iocb>?, UnsafeMutablePointer<iocb>?) = (first, second)
                let submitted = withUnsafeMutablePointer(to: &blocks) { blocks in
                    blocks.withMemoryRebound(to: UnsafeMutablePointer<iocb>?.self, capacity: 2) {
                        lanfs_io_submit(context, 2, $0)
                    }
                }
                meanwhile()
                // The kernel reads our buffer until the last event has come.
                var left = max(0, submitted)
                while left > 0 {
                    var event = io_event()
                    guard lanfs_io_getevents(context, 1, 1, &event) == 1 else {
                        if errno != EINTR { usleep(1000) }
                        continue
                    }
                    if event.data == 0 { results.0 = event.res } else { results.1 = event.res }
                    left -= 1
                }
            }
        }
        return results
    }

    private static func describe(_ block: inout iocb, _ bytes: UnsafeRawBufferPointer, _ file: OpenFile, _ offset: UInt64) {
        block.aio_lio_opcode = LANFS_IOCB_CMD_PWRITE
        block.aio_fildes = UInt32(bitPattern: file.descriptor)
        block.aio_buf = UInt64(UInt(bitPattern: bytes.baseAddress))
        block.aio_nbytes = UInt64(bytes.count)
        block.aio_offset = Int64(offset)
    }

    /// Writes what is left, as after any short write.
    private static func finish(
        _ file: OpenFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, done: Int64?
    ) -> Result<Void, StoreError> {
        let done = done ?? 0
        guard done >= 0 else {
            return .failure(.system(action: "write", path: file.path, errno: Errno(rawValue: Int32(clamping: -done))))
        }
        guard done < bytes.count else { return .success(()) }
        return Result { () throws(StoreError) in
            try file.write(UnsafeRawBufferPointer(rebasing: bytes[Int(done)...]), at: offset + UInt64(done))
        }
    }
}
