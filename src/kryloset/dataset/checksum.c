// SPDX-FileCopyrightText: Kryloset developers
// SPDX-License-Identifier: LGPL-3.0-or-later
//
// The checksum of checksum.py. Sums of a block of words fit into 32 bits.

#include <stdint.h>
#include <string.h>

enum { WORDS = 256 };
static const uint64_t MODULUS = 65535;

uint32_t kryloset_fletcher32(int64_t size, const uint8_t *data)
{
    int64_t count = (size + 1) / 2;
    uint64_t plain = 0, weighted = 0;
    int any = 0;
    for (int64_t begin = 0; begin < count; begin += WORDS) {
        uint16_t words[WORDS];
        int64_t left = size - 2 * begin;
        if (left >= (int64_t)sizeof words) {
            memcpy(words, data + 2 * begin, sizeof words);
        } else {
            memset(words, 0, sizeof words);
            memcpy(words, data + 2 * begin, left);
        }
        uint32_t total = 0, within = 0;
        for (uint32_t i = 0; i < WORDS; i++) {
            total += words[i];
            within += i * words[i];
        }
        any |= total != 0;
        plain = (plain + total) % MODULUS;
        // The number added is a multiple of the modulus, and more than `within`.
        weighted += (uint64_t)((count - begin) % MODULUS) * total + (MODULUS << 16) - within;
        weighted %= MODULUS;
    }
    if (!any)
        return 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    plain = plain * 256 % MODULUS;
    weighted = weighted * 256 % MODULUS;
#endif
    plain = plain ? plain : MODULUS;
    weighted = weighted ? weighted : MODULUS;
    return (uint32_t)(weighted << 16 | plain);
}
