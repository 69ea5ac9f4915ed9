import LanfsCrypto

private func fixedVolumeKey() -> VolumeKey {
    guard let key = try? VolumeKey(SecretBytes(copying: [UInt8](repeating: 7, count: VolumeKey.size))) else {
        fatalError("these are enough bytes for a key")
    }
    return key
}

extension Target {
    static let keyFile = Target(
        name: "key-file",
        seeds: {
            let file = VolumeKeyFile.encode(fixedVolumeKey()).withUnsafeBytes { Array($0) }
            return [file, Array(file.drop { $0 != UInt8(ascii: "\n") }.dropFirst()), Array(file.dropLast(20))]
        },
        run: { bytes in
            do throws(KeyFileError) {
                let key = try VolumeKeyFile.decode(bytes)
                let again = VolumeKeyFile.encode(key).withUnsafeBytes { Array($0) }
                require((try? VolumeKeyFile.decode(again))?.volumeID == key.volumeID, "a key changed on the way")
            } catch {
                _ = error.description
            }
        })

    static let keyPhrase = Target(
        name: "key-phrase",
        seeds: {
            let phrase = fixedVolumeKey().phrase
            return [Array(phrase.utf8), Array("lusab babad".utf8), Array(phrase.uppercased().utf8)]
        },
        run: { bytes in
            do throws(PhraseError) {
                let key = try VolumeKey(phrase: String(decoding: bytes, as: UTF8.self))
                require((try? VolumeKey(phrase: key.phrase))?.volumeID == key.volumeID, "a key changed on the way")
            } catch {
                _ = error.description
            }
        })
}
