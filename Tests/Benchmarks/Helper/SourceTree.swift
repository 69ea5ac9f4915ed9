import Glibc

/// Makes a folder like that of a program's sources: words, many small files, some larger, folders in folders. Arguments:
/// FOLDER COUNT SEED.
struct SourceTree {
    private let folder: String
    private let count: Int
    private var generator: SplitMix64

    init(_ arguments: inout Arguments) throws(Failure) {
        folder = try arguments.text()
        count = try arguments.number()
        generator = SplitMix64(state: UInt64(try arguments.number()))
    }

    func make() throws(Failure) {
        var generator = generator
        var folders = [folder]
        try makeFolder(folder)
        for number in 0..<count {
            if number % 20 == 0 {
                // Mostly in folders of the first levels.
                let parent = folders[Int.random(in: 0..<folders.count, using: &generator) / 2]
                folders.append("\(parent)/part-\(number / 20)")
                try makeFolder(folders[folders.count - 1])
            }
            let file = try File("\(folders[folders.count - 1])/source-\(number).txt", O_CREAT | O_EXCL | O_WRONLY)
            let text = text(&generator)
            var outcome: Result<Void, Failure> = .success(())
            text.withUnsafeBytes { bytes in outcome = Result { () throws(Failure) in try file.write(bytes, at: 0) } }
            try outcome.get()
            try file.close()
        }
    }

    private func makeFolder(_ path: String) throws(Failure) {
        guard mkdir(path, 0o755) == 0 else { throw Failure("mkdir", path) }
    }

    /// 128 bytes to 32 KiB, half of them under 2 KiB.
    private func text(_ generator: inout SplitMix64) -> [UInt8] {
        let size = Int.random(in: 128...256, using: &generator) << Int.random(in: 0...7, using: &generator)
        var text: [UInt8] = []
        while text.count < size {
            var word = generator.next() % 5000
            repeat {
                text.append(UInt8(ascii: "a") + UInt8(word % 26))
                word /= 26
            } while word > 0
            text.append(generator.next() % 10 == 0 ? UInt8(ascii: "\n") : UInt8(ascii: " "))
        }
        return text
    }
}
