import Glibc
import LanfsStore

/// lanfs-fuzz TARGET [libFuzzer's arguments]
/// lanfs-fuzz targets                          names them, one a line
/// lanfs-fuzz seeds FOLDER                     writes FOLDER/TARGET/NUMBER: real encodings for a fuzzer to start from
@main
enum Main {
    static func main() throws {
        let words = CommandLine.arguments.dropFirst()
        switch (words.first, words.dropFirst().first) {
        case ("targets", nil): for target in Target.all { print(target.name) }
        case ("seeds", let folder?): for target in Target.all { try target.writeSeeds(to: folder) }
        default:
            guard chosen != nil else {
                print("usage: lanfs-fuzz targets | seeds FOLDER | TARGET [libFuzzer's arguments]")
                exit(2)
            }
            fuzz()
        }
    }

    /// Hands libFuzzer the arguments without the target's name.
    private static func fuzz() -> Never {
        var count = CommandLine.argc - 1
        var arguments = CommandLine.unsafeArgv + 1
        arguments[0] = CommandLine.unsafeArgv[0]
        exit(runDriver(&count, &arguments, fuzzOne))
    }
}

/// libFuzzer calls back without a context, so what it runs is chosen once for the whole process.
private let chosen = Target.all.first { $0.name == CommandLine.arguments.dropFirst().first }

/// The name by which libFuzzer's own `main`, which is linked but not called, knows it.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzOne(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    chosen?.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}

/// libFuzzer's loop, with our own `main` around it so that one binary holds every target.
@_extern(c, "LLVMFuzzerRunDriver")
private func runDriver(
    _ argumentCount: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
