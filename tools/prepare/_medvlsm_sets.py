"""The eleven sets of images of K. Poudel et al. (medvlsm): what they show, and what files' names tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ._layout import Source

LAYOUT = (
    "images/ and masks/ (PNG or JPEG), and anns/train.json, val.json, test.json of "
    "github.com/naamiinepal/medvlsm"
)
VIEWS = {"2CH": "two-chamber", "4CH": "four-chamber"}
CYCLES = {"ED": "diastole", "ES": "systole"}


@dataclass(frozen=True)
class ImageSet:
    """One of the sets.

    Attributes:
        about: for messages and the datalist's head.
        family: of the levels' templates, see `common.text.levels`.
        targets: {what a mask's path says of its structure: the structure's name}; one entry "" for a set of
            one structure.
        split_without_json: how images are split where there is no anns/: "test" (all of them), "kvasir" or
            "camus" by their names; None: not at all.
        in_parts: {section: folder below images and masks}; empty where all lie together.
        patient: its match in an image's name is the patient; None where nothing tells.
        in_p6: named groups are metadata that the authors' P6 has and no file's name.
    """

    about: Source
    family: str
    targets: Mapping[str, str]
    split_without_json: str | None = None
    in_parts: Mapping[str, str] | None = None
    patient: str | None = None
    in_p6: str | None = None

    def target_of(self, mask: str) -> str:
        """The structure that a mask shows, by its path below masks/."""
        return next((name for part, name in self.targets.items() if part in mask), "")

    def metadata_of(self, name: str) -> dict[str, str]:
        """What an image's name tells."""
        if self.family == "heart_ultrasound" and (found := re.search("_(2CH|4CH)_(ED|ES)", name)):
            return {"view": VIEWS[found[1]], "cycle": CYCLES[found[2]]}
        if self.family == "chest_xray" and (found := re.search("frontal|lateral", name)):
            return {"view": found[0]}
        if self.family == "breast_ultrasound" and (found := re.search("benign|malignant", name)):
            return {"tumor_type": found[0]}
        return {}


def _source(name: str, description: str, reference: str, licence: str, where: str) -> Source:
    return Source(name, description, reference, licence, f"{where}.", LAYOUT)


FINDINGS = (
    *("Airspace Opacity", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema"),
    *("Enlarged Cardiomediastinum", "Lung Lesion", "Pleural Effusion", "Pneumothorax", "Support Devices"),
)
POLYP = {"": "polyp"}
BENCHMARK = "PraNet's test sets, github.com/DengPingFan/PraNet"
SETS = {
    "kvasir": ImageSet(
        _source(
            "Kvasir-SEG",
            "Polyps in colonoscopy",
            "D. Jha et al., MMM 2020; H. Borgli et al., Scientific Data 7, 283 (2020)",
            "CC BY 4.0 as part of HyperKvasir; Kvasir-SEG's own page: research and education",
            "https://datasets.simula.no/kvasir-seg",
        ),
        "photograph",
        POLYP,
        split_without_json="kvasir",
    ),
    "clinicdb": ImageSet(
        _source(
            "CVC-ClinicDB",
            "Polyps in colonoscopy",
            "J. Bernal et al., Comput. Med. Imaging Graph. 43, 99-111 (2015)",
            "research use",
            "https://www.kaggle.com/datasets/balraj98/cvcclinicdb",
        ),
        "photograph",
        POLYP,
    ),
    "bkai": ImageSet(
        _source(
            "BKAI-IGH NeoPolyp",
            "Polyps in colonoscopy",
            "P. N. Lan et al., ISVC 2021",
            "see its page",
            "https://www.kaggle.com/c/bkai-igh-neopolyp/data",
        ),
        "photograph",
        POLYP,
    ),
    "etis": ImageSet(
        _source(
            "ETIS-LaribPolypDB",
            "Polyps in colonoscopy",
            "J. Silva et al., Int. J. CARS 9, 283-293 (2014)",
            "research use",
            BENCHMARK,
        ),
        "photograph",
        POLYP,
        split_without_json="test",
    ),
    "colondb": ImageSet(
        _source(
            "CVC-ColonDB",
            "Polyps in colonoscopy",
            "N. Tajbakhsh et al., IEEE TMI 35, 630-644 (2016)",
            "research use",
            BENCHMARK,
        ),
        "photograph",
        POLYP,
        split_without_json="test",
    ),
    "cvc300": ImageSet(
        _source(
            "CVC-300",
            "Polyps in colonoscopy",
            "D. Vazquez et al., J. Healthc. Eng. 2017, 4037190",
            "research use",
            BENCHMARK,
        ),
        "photograph",
        POLYP,
        split_without_json="test",
    ),
    "isic": ImageSet(
        _source(
            "ISIC 2016",
            "Skin lesions in dermoscopy",
            "D. Gutman et al., arXiv:1605.01397 (2016)",
            "CC0",
            "https://challenge.isic-archive.com/data",
        ),
        "photograph",
        {"": "skin melanoma"},
    ),
    "dfu": ImageSet(
        _source(
            "DFUC 2022",
            "Photographs of diabetic foot ulcers",
            "C. Kendrick et al., arXiv:2204.11618 (2022)",
            "by agreement with its authors",
            "https://dfu-challenge.github.io/dfuc2022.html",
        ),
        "photograph",
        {"": "foot ulcer"},
    ),
    "camus": ImageSet(
        _source(
            "CAMUS",
            "Heart ultrasound: left ventricle, myocardium, left atrium",
            "S. Leclerc et al., IEEE TMI 38, 2198-2210 (2019)",
            "see its page",
            "https://www.creatis.insa-lyon.fr/Challenge/camus (as images: images/train, images/test, "
            "masks/train/mask_1 and so on)",
        ),
        "heart_ultrasound",
        {
            "mask_1": "Left ventricular cavity",
            "mask_2": "Myocardium",
            "mask_3": "Left atrium cavity",
        },
        split_without_json="camus",
        in_parts={"training": "train", "validation": "train", "test": "test"},
        patient=r"patient\d+",
        in_p6=r"of a (?P<age>\S+)-year-old (?P<gender>\w+) with (?P<quality>\w+) image quality",
    ),
    "busi": ImageSet(
        _source(
            "BUSI",
            "Tumours in breast ultrasound",
            "W. Al-Dhabyani et al., Data in Brief 28, 104863 (2020)",
            "see its page",
            "https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset",
        ),
        "breast_ultrasound",
        {"": "tumor"},
    ),
    "chexlocalize": ImageSet(
        _source(
            "CheXlocalize",
            "Findings in chest X-rays, a mask for each",
            "A. Saporta et al., Nat. Mach. Intell. 4, 867-878 (2022)",
            "Stanford's research use agreement",
            "https://aimi.stanford.edu (CheXlocalize)",
        ),
        "chest_xray",
        {f"_{finding.lower().replace(' ', '_')}.": finding for finding in FINDINGS},
        patient=r"patient\d+",
        in_p6=r"Xray\. (?P<pathology>.+) are present",
    ),
}
