import Glibc

/// The program MountFixture, built beside this test bundle.
let fixturePath: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = max(0, readlink("/proc/self/exe", &buffer, buffer.count - 1))
    let executable = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return executable.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/MountFixture"
}()
